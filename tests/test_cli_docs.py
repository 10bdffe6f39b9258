"""docs/cli.md and the command say the same, and the help waits for nothing it does not need."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import typer

import plughost
from plughost.management.cli import app
from plughost.management.exit_codes import ExitCode, exit_code_of
from plughost_protocol import ErrorCode, __version__

from .cli_runner import plughost as run

DOCS = (Path(__file__).parents[1] / "docs" / "cli.md").read_text()


def _rows(heading: str) -> list[list[str]]:
    """The cells of the first table whose header begins so."""
    lines = DOCS.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip(" `") for cell in line.strip("|").split("|")])
    return rows


def test_the_docs_name_every_exit_code() -> None:
    assert {(int(row[0]), row[1]) for row in _rows("code")} == {
        (code.value, code.name) for code in ExitCode
    }


def test_the_docs_name_every_command_and_option() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined] # it is a group
    assert {row[0] for row in _rows("command")} == set(commands)
    for name, command in commands.items():
        section = re.search(rf"## `plughost {name}[ `].*?(?=\n## )", DOCS, re.DOTALL)
        assert section, name
        ones = getattr(command, "commands", {})  # of a group
        for one in ones:
            assert f"| `plughost {name} {one}" in section[0], (name, one)
        for parameter in [*command.params, *(p for one in ones.values() for p in one.params)]:
            for option in parameter.opts:
                if option.startswith("--") and option not in ("--json", "--socket", "--help"):
                    assert f"`{option}" in section[0], (name, option)


def test_every_error_code_has_an_exit_code() -> None:
    assert exit_code_of("a_tools_own") is ExitCode.TOOL_ERROR
    unassigned = [code for code in ErrorCode if exit_code_of(code) is ExitCode.TOOL_ERROR]
    assert set(unassigned) == {
        ErrorCode.RESULT_INVALID,
        ErrorCode.RESULT_TOO_LARGE,
        ErrorCode.TOO_DEEP,
        ErrorCode.TOOL_ERROR,
    }


def test_version_and_help_are_there() -> None:
    assert run("--version").out == f"plughost {__version__}\n"
    shown = run("--help")
    assert (shown.code, "check" in shown.out) == (0, True)
    assert run("nonsense").code == 2
    assert "No such command" in run("nonsense", "--json").error["message"]


def test_the_help_shows_every_command_once_in_its_group_and_whole() -> None:
    shown = run("--help", env={"COLUMNS": "80"}).out
    _, _, commands = shown.partition("Run plugins:")
    commands = commands.partition("Exit codes:")[0]
    named = re.findall(r"^  (\w+) +[A-Z].*\.$", commands, re.MULTILINE)
    assert sorted(named) == sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined] # it is a group
    assert "..." not in commands


def test_the_help_imports_neither_the_host_nor_rich() -> None:
    code = (
        "import sys; sys.argv = ['plughost', '--help']\n"
        "from plughost.management.cli import main; main()\n"
        "print('|', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    loaded = set(done.stdout.split("|")[1].split())
    assert not loaded & {"anyio", "asyncio", "jsonschema", "plughost.host", "rich", "psutil"}


def test_every_public_name_is_found_at_run_time() -> None:
    source = Path(plughost.__file__).read_text()
    imports = re.findall(r"^    from \.([\w.]+) import (?:\(([^)]+)\)|(.+))$", source, re.MULTILINE)
    found = {"__version__"}
    for module, several, one in imports:
        for name in re.findall(r"\w+", several or one):
            found.add(name)
            home = import_module(f"plughost.{module}")
            assert getattr(plughost, name) is getattr(home, name)
    assert found == set(plughost.__all__)
