"""`plughost run`: what it shows, how it stops, and its socket."""

import json
import os
import signal
import socket as sockets
import stat
from pathlib import Path

import pytest

from .cli_runner import Process, plughost, running_host, write_plugin

CODE = """
import asyncio, os
from plughost_sdk import Plugin

plugin = Plugin()
print("says hello [red]", flush=True)

@plugin.tool
async def until(path: str) -> str:
    '''Wait for a file.'''
    print("waiting", flush=True)
    async with asyncio.timeout(30):
        while not os.path.exists(path):
            await asyncio.sleep(0.01)
    return "there it is"

@plugin.tool
async def log(lines: int) -> None:
    for i in range(lines):
        print("x" * 1000, flush=True)

@plugin.tool
async def limits() -> list:
    import resource
    return [resource.getrlimit(resource.RLIMIT_AS)[0], os.getppid()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (tmp_path / "seen").mkdir()
    seen = {"permission": f"fs:read:{tmp_path}/seen", "reason": "it waits for a file"}
    write_plugin(folder, "demo", CODE, permissions=["tools:register", seen])
    return folder


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "s"


def test_run_shows_plugins_tools_failures_and_logs(folder: Path, socket: Path) -> None:
    write_plugin(folder, "broken", "import nothing_of_that_name")
    write_plugin(folder, "odd", "", version="one")
    with running_host(folder, socket=socket) as host:
        host.wait_for(r"\[Plugin:demo\] info    says hello \[red\]")
        host.send(signal.SIGTERM)
        assert host.wait() == 0
    shown = host.output
    assert ["demo", "1.0.0", "active"] in [line.split()[:3] for line in shown.splitlines()]
    assert "demo.until path=string Wait for a file." in " ".join(shown.split())
    assert "error: plugin broken does not run (error)\n  why: ModuleNotFoundError" in shown
    assert "error: plugin odd does not run (refused)\n" in shown
    assert "[Plugin:broken] error   Traceback" in shown
    assert shown.index("ready on") < shown.index("[Plugin:broken] error")


def test_sigterm_lets_a_call_in_flight_end(folder: Path, socket: Path, tmp_path: Path) -> None:
    with running_host(folder, socket=socket) as host:
        call = Process("call", "demo.until", f"path={tmp_path}/seen/file", socket=socket)
        try:
            host.wait_for("info    waiting")
            host.send(signal.SIGTERM)
            host.wait_for("waiting for 1 open calls")
            (tmp_path / "seen" / "file").touch()
            assert (call.wait(), call.output) == (0, "there it is\n")
            assert host.wait() == 0
        finally:
            call.end()
    assert not socket.exists()


def test_a_second_ctrl_c_stops_at_once(folder: Path, socket: Path, tmp_path: Path) -> None:
    with running_host(folder, socket=socket) as host:
        call = Process("call", "demo.until", f"path={tmp_path}/never", socket=socket)
        try:
            host.wait_for("info    waiting")
            host.send(signal.SIGINT)
            host.wait_for("Ctrl-C again stops at once")
            host.send(signal.SIGINT)
            assert host.wait() == 130
            assert call.wait() == 9
            assert "stopped" in call.output
        finally:
            call.end()
    assert not socket.exists()


def test_a_second_run_on_a_live_socket_is_refused(folder: Path, socket: Path) -> None:
    with running_host(folder, socket=socket) as host:
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        second = plughost("run", folder, socket=socket)
        assert second.code == 1
        assert f"process {host.pid} serves {socket}" in second.err
        assert plughost("list", socket=socket).code == 0


def test_the_socket_of_a_killed_host_is_replaced(folder: Path, socket: Path) -> None:
    with running_host(folder, socket=socket) as host:
        host.send(signal.SIGKILL)
        host.wait()
    assert socket.is_socket()
    assert plughost("list", socket=socket).code == 4
    with running_host(folder, socket=socket) as host:
        assert plughost("list", socket=socket).code == 0
        host.send(signal.SIGINT)
        assert host.wait() == 0
    assert not socket.exists()


def test_a_file_that_is_no_socket_is_left_alone(folder: Path, socket: Path) -> None:
    socket.write_text("mine")
    done = plughost("run", folder, socket=socket)
    assert (done.code, "no socket" in done.err) == (1, True)
    assert socket.read_text() == "mine"


def test_a_host_without_a_plugin_that_starts_exits_with_1(tmp_path: Path, socket: Path) -> None:
    write_plugin(tmp_path, "broken", "1 / 0")
    done = plughost("run", tmp_path / "broken", socket=socket)
    assert done.code == 1
    assert "no plugin could be started" in done.err
    assert "ZeroDivisionError" in done.err
    assert "ready" not in done.out
    assert not socket.exists()


def test_ctrl_c_while_plugins_start_ends_the_start(tmp_path: Path, socket: Path) -> None:
    fifo = write_plugin(tmp_path, "slow", "open('fifo').read()") / "fifo"
    os.mkfifo(fifo)
    host = Process("run", tmp_path, socket=socket)
    try:
        # Opening returns once the plugin reads: its worker runs, and it has not loaded.
        with fifo.open("w"):
            host.send(signal.SIGINT)
            assert host.wait() == 130
    finally:
        host.end()
    assert "Traceback" not in host.output
    assert not socket.exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--memory", "lots"], "'lots' is no size"),
        (["--timeout", "-1"], "must be more than 0"),
    ],
)
def test_limits_that_cannot_be_are_wrong_usage(
    folder: Path, socket: Path, options: list[str], told: str
) -> None:
    done = plughost("run", folder, *options, socket=socket)
    assert (done.code, told in done.err) == (2, True), done.err


def test_without_a_folder_there_must_be_plugins_here(tmp_path: Path, socket: Path) -> None:
    done = plughost("run", socket=socket, cwd=tmp_path)
    assert (done.code, "./plugins" in done.err) == (2, True)


def test_limits_and_a_shared_template_are_passed_on(
    folder: Path, socket: Path, tmp_path: Path
) -> None:
    options = ["--memory", "90MB", "--timeout", "0.3", "--shared-template", "--quiet"]
    with running_host(folder, *options, socket=socket) as host:
        assert host.output == "ready\n"
        limit, _ = plughost("call", "demo.limits", "--json", socket=socket).json["result"]
        assert limit < 2 * 2**30
        done = plughost("call", "demo.until", f"path={tmp_path}/x", "--timeout", "9", socket=socket)
        assert (done.code, "within 300 ms" in done.err) == (6, True)


def test_what_a_plugin_needs_and_is_not_there_is_said_once(folder: Path, socket: Path) -> None:
    write_plugin(folder, "needy", "", dependencies=["nobody"])
    host = Process("run", folder, socket=socket)
    try:
        host.wait_for("^ready")
        host.wait_for("says hello")
        host.send(signal.SIGTERM)
        assert host.wait() == 0
    finally:
        host.end()
    assert host.output.count("it needs nobody, which is not installed") == 1
    assert "  try: mend that, then: plughost load needy\n" in host.output


def test_run_writes_one_json_object_a_line(folder: Path, socket: Path) -> None:
    host = Process("run", folder, "--json", socket=socket)
    try:
        host.wait_for('"event":"ready"')
        host.wait_for("says hello")
        host.send(signal.SIGTERM)
        assert host.wait() == 0
    finally:
        host.end()
    events = [json.loads(line) for line in host.output.splitlines()]
    assert [event["event"] for event in events[:3]] == ["start", "ready", "log"]
    assert events[0]["plugins"][0]["id"] == "demo"
    entry = {"time", "plugin", "level", "source", "message", "fields", "about"}
    assert set(events[2]) == {"event", *entry}


def test_a_reader_that_stands_still_stops_no_plugin(folder: Path, socket: Path) -> None:
    with running_host(folder, socket=socket) as host:
        host.stop_reading()
        assert plughost("call", "demo.log", "lines=400", socket=socket).code == 0
        assert plughost("call", "demo.limits", socket=socket).code == 0
        host.send(signal.SIGTERM)
        host.go_on_reading()
        assert host.wait() == 0


def test_a_host_whose_reader_has_gone_stops(folder: Path, socket: Path) -> None:
    with running_host(folder, socket=socket) as host:
        host.hang_up()
        plughost("call", "demo.log", "lines=50", socket=socket)
        assert host.wait() == 0
    assert not socket.exists()


# The default folder of the socket


def test_the_default_socket_is_in_the_runtime_folder(folder: Path, tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    host = Process("run", folder, env=env)
    try:
        host.wait_for("^ready")
        assert stat.S_IMODE((tmp_path / "plughost").stat().st_mode) == 0o700
        assert plughost("list", env=env).code == 0
        host.send(signal.SIGTERM)
        assert host.wait() == 0
    finally:
        host.end()


@pytest.mark.parametrize("flaw", ["open to others", "a link", "a file"])
def test_a_socket_folder_that_others_could_use_is_refused(
    folder: Path, tmp_path: Path, flaw: str
) -> None:
    own = tmp_path / f"plughost-{os.geteuid()}"
    if flaw == "a file":
        own.touch()
    elif flaw == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        own.symlink_to(tmp_path / "elsewhere")
    else:
        own.mkdir()
        own.chmod(0o755)
    env = {"XDG_RUNTIME_DIR": "", "TMPDIR": str(tmp_path)}
    for command in (["run", folder], ["list"]):
        done = plughost(*command, env=env)
        assert (done.code, "cannot be used" in done.err) == (1, True), done.err


def test_a_socket_path_that_is_too_long_is_said_so(folder: Path, tmp_path: Path) -> None:
    done = plughost("run", folder, socket=tmp_path / ("x" * 120))
    assert (done.code, "at most 107 bytes" in done.err) == (2, True)


def test_a_client_of_another_kind_of_server_is_told(tmp_path: Path) -> None:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        client = Process("list", socket=tmp_path / "s")
        try:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                assert client.wait() == 1
        finally:
            client.end()
    assert "protocol violation" in client.output
