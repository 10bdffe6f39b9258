"""What is wrong in the folders and the files of a host is said by name, and the rest runs on."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from .cli_runner import plughost, running_host, write_plugin

CODE = """
from plughost_sdk import Plugin, tool

class Demo(Plugin):
    @tool
    async def version(self) -> str:
        return self.api.manifest.version
"""


def folder_with_mistakes(folder: Path) -> dict[str, str]:
    """What is told of each plugin in it that cannot run; `fine` can."""
    for name in ("fine", "off", "twin"):
        write_plugin(folder, name, CODE)
    shutil.copytree(folder / "twin", folder / "twin-copy")
    write_plugin(folder, "user", CODE, dependencies=["off"])
    write_plugin(folder, "lost", CODE, main="nowhere.py")
    write_plugin(folder, "bare", "x = 1\n")
    write_plugin(folder, "typo", CODE, pemissions=[])
    (write_plugin(folder, "cut", CODE) / "manifest.json").write_text('{"id": "cut", "na')
    (folder / "astray").symlink_to(folder / "nowhere")
    return {
        "twin-copy": f"id: 'twin' is taken by {folder / 'twin'}: give one of the two another id",
        "user": "it needs off, which does not run (disabled): enable off first",
        "lost": "main: there is no file 'nowhere.py'",
        "bare": "plugin.py has no plugin: it needs",
        "typo": "pemissions: unknown field",
        "cut": "is not JSON",
        "astray": "leads nowhere, or round in a circle",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    return made


def configured(folder: Path, text: str) -> Path:
    file = folder / "own.toml"
    file.write_text(f"[grants]\n'*' = ['*']\n{text}")
    file.chmod(0o600)
    return file


def test_each_mistake_is_told_with_its_plugin_and_the_rest_runs(
    folder: Path, tmp_path: Path
) -> None:
    told = folder_with_mistakes(folder)
    file = configured(tmp_path, "[plugins.off]\nenabled = false\n")
    socket = tmp_path / "s"
    with running_host(folder, "--file", file, socket=socket) as host:
        listed: list[dict[str, Any]] = plughost("list", "--json", socket=socket).json
        assert plughost("call", "fine.version", socket=socket).out == "1.0.0\n"
        loaded = plughost("load", "--all", socket=socket)
        assert plughost("enable", "off", socket=socket).code == 0
        assert plughost("load", "user", socket=socket).code == 0
    problems = {each["id"]: each["problem"] for each in listed}
    assert {name for name, problem in problems.items() if problem} == set(told)
    for name, problem in told.items():
        assert problem in problems[name]
        assert f"error: plugin {name} does not run" in host.output
    assert "plugin off does not run" not in host.output
    assert "it needs off" in loaded.err


def test_an_entry_point_that_leads_nowhere_is_told_and_the_rest_runs(
    folder: Path, tmp_path: Path
) -> None:
    write_plugin(folder, "fine", CODE)
    info = tmp_path / "site" / "lost-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lost\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[plughost.plugins]\nlost = no_such_package.at_all\n")
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    env = {"PYTHONPATH": path, "PLUGHOST_PLUGIN_PATH": str(folder)}
    with running_host(socket=tmp_path / "s", cwd=tmp_path, env=env) as host:
        assert plughost("call", "fine.version", socket=tmp_path / "s").code == 0
    assert "plugin lost does not run (refused)" in host.output
    assert "the entry point 'lost' of lost 1.0 names 'no_such_package.at_all'" in host.output


def test_a_manifest_that_changes_its_id_is_told_and_what_runs_goes_on(
    folder: Path, tmp_path: Path
) -> None:
    root = write_plugin(folder, "demo", CODE)
    socket = tmp_path / "s"
    with running_host(folder, socket=socket):
        fields = json.loads((root / "manifest.json").read_text())
        (root / "manifest.json").write_text(json.dumps(fields | {"id": "other"}))
        done = plughost("reload", "demo", socket=socket)
        assert (done.code, "it is 'other' now, and 'demo' was loaded" in done.err) == (1, True)
        assert plughost("call", "demo.version", socket=socket).code == 0


def test_a_mistake_in_a_file_keeps_a_host_from_starting_and_one_that_runs_from_nothing(
    folder: Path, tmp_path: Path
) -> None:
    write_plugin(folder, "demo", CODE)
    file = configured(tmp_path, "")
    socket = tmp_path / "s"
    with running_host(folder, "--file", file, socket=socket):
        file.write_text("[limits]\nmemory = 5 MB\n")
        assert plughost("call", "demo.version", socket=socket).code == 0
        done = plughost("reload", "demo", socket=socket)
        assert (done.code, f"{file}:2:12: is not TOML" in done.err) == (1, True), done
        assert plughost("call", "demo.version", socket=socket).code == 0
    done = plughost("run", folder, "--file", file, socket=socket)
    assert (done.code, f"{file}:2:12: is not TOML" in done.err) == (1, True)
    assert "plughost config check" in done.err
