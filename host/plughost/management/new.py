"""`plughost new`: a plugin that works, with a test that passes."""

import json
import re
import shlex
from pathlib import Path
from string import Template
from typing import Final

from plughost_protocol import ErrorCode

from .exit_codes import ExitCode
from .output import Cell, Output
from .problems import CommandFailed, Problem

__all__ = ["new_plugin"]

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_NOT_IN_ID: Final = re.compile(r"[^a-z0-9]+")

_PLUGIN: Final = Template('''"""The plugin $id."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def hello(name: str, excited: bool = False) -> str:
    """Greet somebody by name.

    Args:
        name: Who is greeted.
        excited: Whether the greeting ends with an exclamation mark.
    """
    return f"Hello, {name}{'!' if excited else '.'}"
''')

_TEST: Final = Template('''"""The plugin $id in a worker, as a host runs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from plughost import GRANT_ALL_ASKED, BlockingHost, HostConfig, InvalidParams


@pytest.fixture(scope="module")
def host() -> Iterator[BlockingHost]:
    config = HostConfig(grants=GRANT_ALL_ASKED)
    with BlockingHost([Path(__file__).parents[1]], config) as host:
        assert not host.problems
        yield host


def test_hello_greets_by_name(host: BlockingHost) -> None:
    assert host.call("$id.hello", {"name": "Ada"}) == "Hello, Ada."
    assert host.call("$id.hello", {"name": "Ada", "excited": True}) == "Hello, Ada!"


def test_hello_needs_a_name(host: BlockingHost) -> None:
    with pytest.raises(InvalidParams):
        host.call("$id.hello", {})
''')


def new_plugin(output: Output, name: str, folder: Path) -> ExitCode:
    """Write the plugin `name` into `folder`. Raises `CommandFailed` for a bad or a taken name."""
    _check_id(name)
    root = folder / name
    manifest = {
        "id": name,
        "name": name.replace("-", " ").capitalize(),
        "version": "0.1.0",
        "description": "Says hello.",
        "main": "plugin.py",
        "permissions": ["tools:register"],
    }
    files = {
        "manifest.json": json.dumps(manifest, indent=2) + "\n",
        "plugin.py": _PLUGIN.substitute(id=name),
        "tests/test_plugin.py": _TEST.substitute(id=name),
    }
    try:
        root.mkdir(parents=True)
        for path, text in files.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
    except FileExistsError as exc:
        raise CommandFailed(
            Problem(
                f"{root} exists already",
                "nothing that is there is overwritten",
                "plughost new with another name, or with --dir",
                code=ErrorCode.INTERNAL,
            )
        ) from exc
    except OSError as exc:
        raise CommandFailed(
            Problem(
                f"{root} cannot be written",
                exc.strerror or str(exc),
                "plughost new with another --dir",
                code=ErrorCode.INTERNAL,
            )
        ) from exc
    if output.as_json:
        output.json({"id": name, "path": str(root), "files": list(files)})
        return ExitCode.OK
    output.line(Cell("made ", "green"), f"{root}: {', '.join(files)}")
    output.line("next:")
    output.line(f"  {shlex.join(['plughost', 'grant', name, '--all', '--dir', str(root)])}")
    output.line(f"  plughost check {root}")
    output.line(f"  plughost call --dir {root} {name}.hello name=you")
    output.line(f"  pytest {root}")
    return ExitCode.OK


def _check_id(name: str) -> None:
    if _ID.fullmatch(name):
        return
    better = _NOT_IN_ID.sub("-", name.lower()).strip("-0123456789")[:64] or "my-plugin"
    raise CommandFailed(
        Problem(
            f"{name!r} cannot be a plugin's id",
            "an id has lower-case letters, digits and hyphens, begins with a letter, "
            "and has at most 64 characters",
            f"plughost new {better}",
        )
    )
