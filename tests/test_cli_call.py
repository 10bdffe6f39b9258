"""`plughost list`, `tools` and `call`, against a host that runs in another process."""

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cli_runner import Process, plughost, running_host, under_a_terminal, write_plugin

CODE = r"""
import asyncio, os
from plughost_sdk import Plugin, ToolError

plugin = Plugin()

@plugin.tool
async def add(a: int, b: int = 2) -> int:
    '''Add two numbers.'''
    return a + b

@plugin.tool
async def show(value: str | int | None = None, factor: float = 1.0, on: bool = False,
               items: list[int] | None = None, count: int | None = None) -> list:
    return [value, factor, on, items, count]

@plugin.tool
async def size(data: bytes) -> int:
    return len(data)

@plugin.tool
async def back(data: bytes) -> bytes:
    return data

@plugin.tool
async def echo(text: str) -> str:
    return text

@plugin.tool
async def fail(message: str, code: str = "tool_error") -> None:
    raise ToolError(message, code=code)

@plugin.tool
async def crash(message: str) -> None:
    raise KeyError(message)

@plugin.tool
async def die() -> None:
    os._exit(7)

@plugin.tool
async def wait(name: str = "") -> None:
    print("began:", name, flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled:", name, flush=True)

@plugin.tool
async def work(steps: int) -> str:
    for step in range(steps):
        plugin.api.progress(step + 1, steps, f"[bold]step[/bold] {step + 1}\x1b[2J")
        await asyncio.sleep(0.03)
    return "worked"

@plugin.tool
def count(n: int):
    yield from ({"item": i} for i in range(n))

@plugin.tool
def lines(n: int):
    for i in range(n):
        yield b"\xff%d\n" % i

@plugin.tool
async def endless():
    while True:
        yield "more"

@plugin.tool
async def relay() -> None:
    await plugin.api.call("demo.add", {"a": 1})

@plugin.tool(description="[bold red]pwned[/] \x1b[2J\x1b]0;title\x07 \u202e")
async def evil() -> str:
    return "[blink]out[/] \x1b]0;title\x07\x1b[31m"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    write_plugin(folder, "demo", CODE)
    write_plugin(folder, "broken", "import nothing_of_that_name")
    return folder


@pytest.fixture(scope="module")
def host(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with running_host(folder, socket=tmp_path_factory.getbasetemp() / "call.sock") as host:
        yield host


@pytest.fixture(scope="module")
def socket(host: Process, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "call.sock"


# call: arguments


def test_arguments_are_converted_by_the_schema(socket: Path) -> None:
    arguments = ["value=7", "factor=2.5", "on=true", "items:=[1,2]", "--args", '{"count": 3}']
    done = plughost("call", "demo.show", *arguments, "--json", socket=socket)
    assert (done.code, done.err) == (0, "")
    assert done.json == {"tool": "demo.show", "result": ["7", 2.5, True, [1, 2], 3]}
    assert plughost("call", "plugin_demo_add", "a=-1", socket=socket).out == "1\n"


def test_files_and_standard_input_are_arguments(socket: Path, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"\x00\xff\x00")
    assert plughost("call", "demo.size", f"data@{file}", socket=socket).out == "3\n"
    refused = plughost("call", "demo.echo", f"text@{file}", socket=socket)
    assert (refused.code, "not UTF-8 text" in refused.err) == (2, True)
    file.write_text('{"text": "grüße"}')
    assert plughost("call", "demo.echo", "--args", f"@{file}", socket=socket).out == "grüße\n"
    piped = plughost("call", "demo.echo", "text@-", socket=socket, stdin=b"from stdin")
    assert piped.out == "from stdin\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["demo.add", "a=one"], "a must be an integer, not 'one'"),
        (["demo.add"], "$.a is required"),
        (["demo.add", "a=1", "--timeout", "0"], "--timeout is more than 0"),
        (["demo.add", "a=1", "--nonsense"], "No such option"),
        ([], "Missing argument 'TOOL'"),
    ],
)
def test_wrong_usage_exits_with_2(socket: Path, arguments: list[str], told: str) -> None:
    done = plughost("call", *arguments, socket=socket)
    assert (done.code, done.out) == (2, "")
    assert told in done.err
    assert len(done.err.splitlines()) <= 3
    assert "Traceback" not in done.err


# call: results


def test_strings_are_printed_as_they_are_and_the_rest_as_json(socket: Path) -> None:
    assert plughost("call", "demo.echo", "text=a\tb", socket=socket).out == "a\tb\n"
    assert plughost("call", "demo.add", "a=1", socket=socket).out == "3\n"
    assert plughost("call", "demo.back", "data=AP8=", socket=socket).out == '"AP8="\n'


def test_bytes_and_streams_go_raw_into_a_file(socket: Path, tmp_path: Path) -> None:
    file = tmp_path / "result"
    done = plughost("call", "demo.back", "data=AP8=", "--output", file, "--json", socket=socket)
    assert done.json == {"tool": "demo.back", "output": str(file), "bytes": 2}
    assert file.read_bytes() == b"\x00\xff"
    assert plughost("call", "demo.lines", "n=2", "-o", file, socket=socket).code == 0
    assert file.read_bytes() == b"\xff0\n\xff1\n"
    assert plughost("call", "demo.fail", "message=x", "-o", file, socket=socket).code == 5
    assert file.read_bytes() == b"\xff0\n\xff1\n"


def test_a_stream_is_printed_item_by_item(socket: Path) -> None:
    assert plughost("call", "demo.count", "n=20", socket=socket).out.splitlines() == [
        json.dumps({"item": i}, separators=(",", ":")) for i in range(20)
    ]
    done = plughost("call", "demo.count", "n=2", "--json", socket=socket)
    assert done.json == {"tool": "demo.count", "items": [{"item": 0}, {"item": 1}]}


def test_ctrl_c_ends_an_endless_stream(socket: Path) -> None:
    call = Process("call", "demo.endless", socket=socket)
    try:
        call.wait_for("more")
        call.send(signal.SIGINT)
        assert call.wait() == 130
    finally:
        call.end()


# call: errors


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["broken.anything"], 3, "plugin 'broken' is not running"),
        (["demo.ad"], 4, "did you mean 'demo.add'?"),
        (["other.add"], 4, "there is no tool 'other.add'"),
        (["demo.fail", "message=no luck"], 5, "demo.fail: no luck"),
        (["demo.wait", "--timeout", "0.2"], 6, "did not answer within 200 ms"),
        (["demo.relay"], 7, "lacks the permission 'tools:execute"),
        (["demo.die"], 9, "exited with code 7"),
    ],
)
def test_each_error_has_its_exit_code(
    socket: Path, arguments: list[str], code: int, told: str
) -> None:
    done = plughost("call", *arguments, socket=socket)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert len(done.err.splitlines()) <= 3


def test_errors_are_json_too(socket: Path) -> None:
    done = plughost("call", "demo.fail", "message=x", "code=my_own", "--json", socket=socket)
    assert (done.code, done.out) == (5, "")
    assert (done.error["code"], done.error["exit_code"]) == ("my_own", 5)
    assert done.error["message"] == "demo.fail: x"
    assert "details" in done.error
    usage = plughost("call", "--json", socket=socket)
    assert (usage.code, usage.error["code"]) == (2, "usage")


def test_no_host_is_exit_4_with_what_to_type_next(tmp_path: Path) -> None:
    done = plughost("call", "demo.add", "a=1", socket=tmp_path / "none")
    assert done.code == 4
    assert "plughost run" in done.err
    assert plughost("list", "--json", socket=tmp_path / "none").error["code"] == "host_unreachable"


def test_the_plugins_traceback_is_shown_with_debug_only(socket: Path) -> None:
    assert "Traceback" not in plughost("call", "demo.crash", "message=x", socket=socket).err
    done = plughost("--debug", "call", "demo.crash", "message=x", socket=socket)
    assert "raise KeyError(message)" in done.err
    assert "management" not in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_the_call_in_the_worker(
    host: Process, socket: Path, number: signal.Signals
) -> None:
    call = Process("call", "demo.wait", f"name={number.name}", socket=socket)
    try:
        host.wait_for(f"began: {number.name}")
        call.send(number)
        assert call.wait() == 130
        host.wait_for(f"cancelled: {number.name}")
        assert "demo.wait was cancelled" in call.output
    finally:
        call.end()


def test_a_client_that_is_killed_cancels_its_call(host: Process, socket: Path) -> None:
    call = Process("call", "demo.wait", "name=killed", socket=socket)
    try:
        host.wait_for("began: killed")
        call.send(signal.SIGKILL)
        host.wait_for("cancelled: killed")
    finally:
        call.end()


# On a terminal


def test_a_progress_bar_is_shown_on_a_terminal_only(socket: Path) -> None:
    seen = under_a_terminal("call", "demo.work", "steps=10", socket=socket)
    assert "━" in seen
    assert "[bold]step[/bold] " in seen
    assert "\x1b[2J" not in seen
    assert seen.rstrip().endswith("worked")
    piped = plughost("call", "demo.work", "steps=3", socket=socket)
    assert (piped.out, piped.err) == ("worked\n", "")


@pytest.mark.parametrize("command", [["tools"], ["call", "demo.evil"]])
def test_what_a_plugin_writes_is_neither_markup_nor_control_to_a_terminal(
    socket: Path, command: list[str]
) -> None:
    seen = under_a_terminal(*command, socket=socket)
    assert "[bold red]pwned[/]" in seen or "[blink]out[/]" in seen
    assert "\\x1b]0;title" in seen
    for unsafe in ("\x1b[2J", "\x1b]0", "\x07", "\u202e", "\x1b[31m"):
        assert unsafe not in seen


def test_json_holds_no_character_that_a_terminal_acts_on(socket: Path) -> None:
    done = plughost("tools", "demo", "--json", socket=socket)
    assert not any(unsafe in done.out for unsafe in ("\x1b", "\x07", "\u202e"))
    (evil,) = [tool for tool in done.json if tool["name"] == "demo.evil"]
    assert evil["description"].endswith("\x07 \u202e")


# list and tools


def test_list_tells_state_and_reason_and_exits_with_3_unless_all_run(socket: Path) -> None:
    done = plughost("list", socket=socket)
    assert done.code == 3
    header, broken, demo, reason = done.out.splitlines()[:4]
    assert header.split() == [
        "ID", "VERSION", "STATE", "PID", "UPTIME", "RESTARTS", "CPU", "MEMORY", "CALLS", "ERRORS",
    ]  # fmt: skip
    assert broken.split()[:3] == ["broken", "1.0.0", "error"]
    assert demo.split()[:3] == ["demo", "1.0.0", "active"]
    assert reason.startswith("broken: ModuleNotFoundError")
    statuses = {status["id"]: status for status in plughost("list", "--json", socket=socket).json}
    assert set(statuses["demo"]) == {
        "id", "state", "running", "version", "pid", "uptime", "restarts", "cpu", "memory", "calls",
        "errors", "problem", "reload_error", "stderr", "stack", "degraded", "path", "hides",
        "canary",
    }  # fmt: skip
    assert statuses["demo"]["running"] is True
    assert statuses["demo"]["pid"] > 0
    assert Path(statuses["broken"]["path"]).name == "broken"
    assert statuses["broken"] | {"problem": "", "path": ""} == {
        "id": "broken", "state": "error", "running": False, "version": "1.0.0", "pid": None,
        "uptime": 0.0, "restarts": 0, "cpu": 0.0, "memory": 0, "calls": 0, "errors": 0,
        "problem": "", "reload_error": "", "stderr": [], "stack": "", "degraded": [],
        "path": "", "hides": [], "canary": None,
    }  # fmt: skip


CRASHES = """
import ctypes, sys
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.tool
async def crash() -> None:
    print("about to fall", file=sys.stderr)
    ctypes.string_at(0)
"""


def test_list_shows_the_last_words_and_the_stacks_of_a_worker_that_crashed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with running_host(write_plugin(tmp_path, "falls", CRASHES), socket=path):
        assert plughost("call", "falls.crash", socket=path).code == 9
        (status,) = plughost("list", "--json", socket=path).json
        told = plughost("list", socket=path).out
    assert status["stderr"] == ["about to fall"]
    assert "in crash" in status["stack"]
    assert "killed by SIGSEGV" in told
    assert "  stderr: about to fall" in told
    assert "Fatal Python error: Segmentation fault" in told


def test_tools_are_shown_with_their_parameters(socket: Path) -> None:
    done = plughost("tools", "demo", socket=socket)
    assert done.code == 0
    (add,) = [line for line in done.out.splitlines() if line.startswith("demo.add")]
    assert add.split(maxsplit=3) == ["demo.add", "a=integer", "[b=integer]", "Add two numbers."]
    (tool,) = [
        t for t in plughost("tools", "--json", socket=socket).json if t["name"] == "demo.add"
    ]
    assert tool["input_schema"]["required"] == ["a"]
    assert tool["model_name"] == "plugin_demo_add"


def test_tool_definitions_are_given_in_the_forms_of_the_model_apis(socket: Path) -> None:
    anthropic = plughost("tools", "--for", "anthropic", socket=socket).json
    openai = plughost("tools", "--for", "openai", socket=socket).json
    assert {tool["name"] for tool in anthropic} >= {"plugin_demo_add"}
    assert set(anthropic[0]) == {"name", "description", "input_schema"}
    assert {tool["type"] for tool in openai} == {"function"}
    assert set(openai[0]["function"]) == {"name", "description", "parameters"}


@pytest.mark.parametrize(("plugin", "code"), [("demo", 0), ("broken", 3), ("other", 4)])
def test_tools_of_one_plugin_tell_whether_it_runs(socket: Path, plugin: str, code: int) -> None:
    assert plughost("tools", plugin, socket=socket).code == code


# Without a running host


def test_a_call_can_bring_its_own_host(folder: Path) -> None:
    assert plughost("call", "--dir", folder, "demo.add", "a=40").out == "42\n"
    data = base64.b64encode(b"x" * 100).decode()
    done = plughost("call", "--dir", folder / "demo", "demo.size", f"data={data}")
    assert (done.code, done.out, done.err) == (0, "100\n", "")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["broken.x"], 3), (["demo.wait", "--timeout", "0.2"], 6)],
)
def test_a_call_with_its_own_host_has_the_same_exit_codes(
    folder: Path, arguments: list[str], code: int
) -> None:
    done = plughost("call", "--dir", folder, *arguments)
    assert (done.code, done.out) == (code, "")
    assert len(done.err.splitlines()) <= 3
