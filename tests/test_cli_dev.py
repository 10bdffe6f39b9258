"""`plughost dev`: what a person sees who writes a plugin."""

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plughost.exits import Cause, WorkerExit
from plughost.management.excerpt import excerpt_of
from plughost_protocol import CodePlace

from .cli_runner import Process, plughost, terminal, write_plugin

GREETS = """from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
def greet(name: str) -> str:
    return f"Hello, {name}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "s"


@contextmanager
def dev(*arguments: object, **settings: Any) -> Iterator[Process]:
    """`plughost dev`, ready."""
    process = Process("dev", *arguments, **settings)
    try:
        process.wait_for("ready")
        yield process
    finally:
        process.end()


def finish(process: Process) -> None:
    process.send(signal.SIGINT)
    assert process.wait() == 0, process.output
    assert "Exception" not in process.output


def test_a_change_is_one_line_with_what_became_of_the_tools(folder: Path, socket: Path) -> None:
    root = write_plugin(folder, "greeter", GREETS, version="1.2.0")
    with dev(folder, socket=socket) as shown:
        shown.wait_for("files are watched, and what changes is loaded anew")
        code = GREETS.replace("name: str", "name: str, often: int = 1") + (
            "\n@plugin.tool\ndef leave() -> None: ...\n"
        )
        (root / "plugin.py").write_text(code)
        line = shown.wait_for("greeter 1.2.0 reloaded")
        assert re.fullmatch(r"greeter 1\.2\.0 reloaded in [\d.]+ m?s: plugin\.py\n", line)
        assert shown.wait_for("tools:") == "  tools: added leave; changed greet\n"
        done = plughost("call", "greeter.greet", "name=Ada", "often:=2", socket=socket)
        assert done.out == "Hello, Ada\n"
        (root / "plugin.py").write_text(GREETS)
        assert shown.wait_for("tools:") == "  tools: removed leave; changed greet\n"
        finish(shown)


def test_a_mistake_is_shown_in_its_place_and_mended_by_the_next_change(
    folder: Path, socket: Path
) -> None:
    root = write_plugin(folder, "greeter", GREETS)
    manifest = (root / "manifest.json").read_text()
    with dev(folder, socket=socket) as shown:
        (root / "plugin.py").write_text(GREETS.replace("return f", "retur f"))
        shown.wait_for("error: greeter was not reloaded, and what ran goes on")
        shown.wait_for(r"^    8 | {12}\^+$|\^")
        assert shown.output.endswith(
            "  why: SyntaxError: invalid syntax (plugin.py, line 8)\n"
            "  plugin.py:8:11\n"
            "    6 | @plugin.tool\n"
            "    7 | def greet(name: str) -> str:\n"
            '  > 8 |     retur f"Hello, {name}"\n'
            "      |           ^^^^^^^^^^^^^^^^\n"
        )
        assert plughost("call", "greeter.greet", "name=Ada", socket=socket).code == 0
        (root / "plugin.py").write_text(GREETS)
        shown.wait_for("greeter 1.0.0 reloaded")
        (root / "manifest.json").write_text('{\n  "id": "greeter",\n  "name" "x"\n}')
        shown.wait_for("error: greeter was not reloaded")
        shown.wait_for(r"manifest\.json:3:10: is not JSON")
        shown.wait_for(r'^  > 3 \|   "name" "x"$')
        (root / "manifest.json").write_text(manifest)
        shown.wait_for("greeter 1.0.0 reloaded")
        finish(shown)


RAISES = "def deep():\n    raise ValueError('deep')\n\n\ndeep()\n"


@pytest.mark.parametrize("debug", [False, True])
def test_a_traceback_is_shown_once_and_with_debug_alone(
    folder: Path, socket: Path, debug: bool
) -> None:
    root = write_plugin(folder, "greeter", GREETS)
    write_plugin(folder, "broken", RAISES)
    words = ["--debug", "dev"] if debug else ["dev"]
    process = Process(*words, folder, socket=socket)
    try:
        process.wait_for("what changes is loaded anew")
        (root / "plugin.py").write_text(RAISES)
        process.wait_for("error: greeter was not reloaded")
        process.wait_for("  > 2 |     raise ValueError")
        (root / "plugin.py").write_text(GREETS)
        process.wait_for("greeter 1.0.0 reloaded")
        finish(process)
    finally:
        process.end()
    for plugin in ("broken", "greeter"):
        lines = [line for line in process.output.splitlines() if f"/{plugin}/plugin.py" in line]
        assert len(lines) == 2 * debug, process.output  # the frames of one traceback
        assert f"[Plugin:{plugin}]" not in process.output
    assert process.output.count("why: ValueError: deep (plugin.py, line 2)") == 2


def test_a_failure_that_no_change_of_files_brought_about_is_in_the_log(
    folder: Path, socket: Path
) -> None:
    code = "from plughost_sdk import Plugin\n\n\nclass It(Plugin):\n    def on_load(self, api):\n"
    write_plugin(folder, "greeter", code + "        assert not api.config\n")
    with dev(folder, socket=socket) as shown:
        assert plughost("configure", "greeter", "city=Oslo", socket=socket).code == 3
        shown.wait_for(r"\[Plugin:greeter\] error   Traceback")
        shown.wait_for(r"\[Plugin:greeter\] error   not reloaded, version 1.0.0: AssertionError")
        finish(shown)


def test_a_plugin_that_fails_at_first_is_started_once_it_is_mended(
    folder: Path, socket: Path
) -> None:
    code = "from plughost_sdk import Plugin\n\n\nclass It(Plugin):\n    def on_load(self, api):\n"
    root = write_plugin(folder, "greeter", code + "        api.nothing()\n")
    odd = write_plugin(folder, "odd", GREETS)
    (odd / "manifest.json").write_text("[]")
    with dev(folder, socket=socket) as shown:
        assert "error: plugin greeter does not run (error)\n  why: AttributeError" in shown.output
        assert "not tried again" not in shown.output
        assert "  plugin.py:6:9\n" in shown.output
        assert "  > 6 |         api.nothing()\n      |         ^^^^^^^^^^^\n" in shown.output
        assert "error: plugin odd does not run (refused)" in shown.output
        assert "  manifest.json:1:1\n  > 1 | []\n" in shown.output
        shown.wait_for("no plugin runs yet: files are watched")
        (root / "plugin.py").write_text(GREETS)
        shown.wait_for("greeter 1.0.0 loaded in")
        fields = {"id": "odd", "name": "odd", "version": "2.0.0", "permissions": ["tools:register"]}
        (odd / "manifest.json").write_text(json.dumps(fields))
        shown.wait_for("odd 2.0.0 loaded in .*: manifest.json")
        finish(shown)


def test_plugins_come_and_go(folder: Path, socket: Path, tmp_path: Path) -> None:
    write_plugin(folder, "first", GREETS)
    write_plugin(folder, "needy", GREETS, dependencies=["first"])
    with dev(folder, socket=socket) as shown:
        write_plugin(folder, "second", GREETS)
        shown.wait_for("second 1.0.0 loaded in")
        (folder / "first").rename(tmp_path / "away")
        line = shown.wait_for("first unloaded")
        assert line == f"first unloaded: {folder}/first has gone; so did what needs it: needy\n"
        (tmp_path / "away").rename(folder / "first")
        shown.wait_for("first 1.0.0 loaded in")
        shown.wait_for("needy 1.0.0 loaded in")
        finish(shown)


def test_what_a_new_version_asks_for_is_taken_from_the_file_as_it_is_by_then(
    folder: Path, socket: Path, tmp_path: Path
) -> None:
    root = write_plugin(folder, "greeter", GREETS)
    grants = tmp_path / "mine.toml"
    grants.write_text('[grants]\ngreeter = ["tools:register"]\n')
    grants.chmod(0o600)
    manifest = json.loads((root / "manifest.json").read_text())
    asks = manifest | {"permissions": ["tools:register", "storage:read"]}
    with dev(folder, "--file", grants, socket=socket) as shown:
        (root / "manifest.json").write_text(json.dumps(asks))
        shown.wait_for("error: greeter was not reloaded")
        assert "plughost grant greeter storage:read" in shown.wait_for("why:")
        done = plughost(
            "grant", "greeter", "storage:read", "--dir", folder, "--file", grants, socket=socket
        )
        assert done.code == 0, done.err
        (root / "plugin.py").write_text(GREETS + "\n")
        shown.wait_for("greeter 1.0.0 reloaded")
        finish(shown)


def test_a_developer_sees_all_that_a_plugin_logs(folder: Path, socket: Path) -> None:
    code = GREETS + "\nimport logging\nlogging.getLogger().debug('details')\n"
    write_plugin(folder, "greeter", code)
    with dev(folder, socket=socket) as shown:
        shown.wait_for(r"\[Plugin:greeter\] debug   details")
        finish(shown)


def test_programs_get_one_object_for_each_change(folder: Path, socket: Path) -> None:
    root = write_plugin(folder, "greeter", GREETS)
    with dev(folder, "--json", socket=socket) as shown:
        (root / "plugin.py").write_text("1 / 0\n")
        failed = json.loads(shown.wait_for('"event":"failed"'))
        assert (failed["plugin"], failed["goes_on"], failed["code"]) == (
            "greeter",
            True,
            "load_failed",
        )
        assert failed["traceback"].endswith("ZeroDivisionError: division by zero")
        assert failed["places"] == [
            {"file": "plugin.py", "line": 1, "column": 1, "lines": [{"line": 1, "text": "1 / 0"}]}
        ]
        (root / "plugin.py").write_text(GREETS.replace("greet", "hail"))
        reloaded = json.loads(shown.wait_for('"event":"reloaded"'))
        assert reloaded["tools"] == {"added": ["hail"], "removed": ["greet"], "changed": []}
        assert (reloaded["files"], reloaded["ms"] > 0) == (["plugin.py"], True)
        shutil.rmtree(root)
        assert json.loads(shown.wait_for('"event":"unloaded"'))["plugin"] == "greeter"
        finish(shown)


def test_at_a_terminal_errors_have_colours_and_no_control_characters(
    folder: Path, socket: Path
) -> None:
    root = write_plugin(folder, "greeter", GREETS)
    with terminal("dev", folder, socket=socket, env={"NO_COLOR": ""}) as shown:
        shown.wait_for("what changes is loaded anew")
        (root / "plugin.py").write_text("x = 1\n# \x1b[2J\u202e\n1 / 0\n")
        shown.wait_for("was not reloaded")
        shown.wait_for("1 / 0")
        shown.type("\x03")
        assert shown.wait() == 0
    assert "\x1b[2J" not in shown.seen
    assert "\\x1b[2J\\u202e" in shown.seen


def test_in_production_dev_refuses_and_run_watches_nothing(folder: Path, socket: Path) -> None:
    write_plugin(folder, "greeter", GREETS)
    env = {"PLUGHOST_ENV": "production", "PLUGHOST_HOT_RELOAD": "true"}
    refused = plughost("dev", folder, socket=socket, env=env)
    assert refused.code == 2
    assert "plughost dev is not for production" in refused.err
    host = Process("run", folder, socket=socket, env=env)
    try:
        host.wait_for(r"^ready")
        host.wait_for(r"\[host\] warning hot reload is off: PLUGHOST_ENV is production")
        finish(host)
    finally:
        host.end()


def test_run_reloads_too_where_it_is_configured(folder: Path, socket: Path) -> None:
    root = write_plugin(folder, "greeter", GREETS)
    with dev_like_run(folder, socket) as shown:
        (root / "plugin.py").write_text(GREETS + "\n")
        shown.wait_for("greeter 1.0.0 reloaded")
        finish(shown)


@contextmanager
def dev_like_run(folder: Path, socket: Path) -> Iterator[Process]:
    env = {"PLUGHOST_HOT_RELOAD": "true", "PLUGHOST_HOT_RELOAD__DEBOUNCE": "100 ms"}
    host = Process("run", folder, socket=socket, env=env)
    try:
        host.wait_for("ready")
        yield host
    finally:
        host.end()


# Whose lines are shown


def _end(*places: CodePlace) -> WorkerExit:
    return WorkerExit(Cause.LOAD_FAILED, places=places)


def test_only_lines_of_the_plugins_own_files_are_shown(tmp_path: Path) -> None:
    root = tmp_path / "plugin"
    (root / "inside").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("one\ntwo\n")
    (root / "out").symlink_to(secret)
    (root / "outer").symlink_to(tmp_path)
    os.mkfifo(root / "fifo")
    (root / "good.py").write_text("one\ntwo\nthree\n")
    (root / "in").symlink_to(root / "good.py")
    for claimed in (
        secret,
        root / "out",
        root / "outer" / "secret",
        root / ".." / "secret",
        root / "fifo",
        root / "inside",
        root / "missing.py",
        root / "nul\0",
        "good.py",
        "/proc/self/environ",
    ):
        assert excerpt_of(root, _end(CodePlace(str(claimed), 1))) == [], claimed
    assert excerpt_of(root, _end(CodePlace(str(root / "good.py"), 9))) == []
    (shown,) = excerpt_of(root, _end(CodePlace(str(root / "in"), 2), CodePlace(str(secret), 1)))
    assert (shown.file, shown.first, shown.lines) == ("in", 1, ("one", "two", "three"))


def test_a_plugins_folder_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "plugin.py").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("real", "link"):
        place = CodePlace(str(tmp_path / name / "plugin.py"), 1)
        (shown,) = excerpt_of(tmp_path / "link", _end(place))
        assert (shown.file, shown.lines) == ("plugin.py", ("mine",))


def test_of_a_plugin_of_one_file_no_other_file_is_shown(tmp_path: Path) -> None:
    (tmp_path / "single.py").write_text("mine")
    (tmp_path / "other.py").write_text("not mine")
    for name, lines in (("single.py", ("mine",)), ("other.py", None)):
        found = excerpt_of(tmp_path / "single.py", _end(CodePlace(str(tmp_path / name), 1)))
        assert (found[0].lines if found else None) == lines


def test_the_mark_stands_under_the_fault_whatever_the_line_holds(tmp_path: Path) -> None:
    for line, column, end, marker in (
        ("\tx = y", 6, 7, "        ^"),
        ("日本 = y", 6, 7, "       ^"),
        ("x = y", 5, 0, "    ^"),
        ("x = y", 0, 0, ""),
        ("x" * 500, 400, 401, ""),
        ("x = y", 5, 2**31 - 1, "    ^"),
        ("x = y", 2**31 - 1, 0, "     ^"),
    ):
        (tmp_path / "plugin.py").write_text(f"{line}\n")
        place = CodePlace(str(tmp_path / "plugin.py"), 1, column, end)
        (shown,) = excerpt_of(tmp_path, _end(place))
        assert shown.marker == marker, line
        assert len(shown.lines[0]) <= 160
