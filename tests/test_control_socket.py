"""The control socket: what a client that misbehaves can do, which is end its own connection."""

import dataclasses
import os
import socket as sockets
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from plughost import Tool
from plughost.management.control import CallTool, ToolInfo
from plughost_protocol import (
    Call,
    CallMeta,
    Cancel,
    Chunk,
    Credit,
    Error,
    FrameDecoder,
    Hello,
    Message,
    Ping,
    Pong,
    Progress,
    Result,
    decode_message,
    decode_value,
    encode,
    frame_header,
)

from .cli_runner import Process, plughost, running_host, write_plugin

CODE = """
import asyncio
from plughost_sdk import Plugin, ToolError

plugin = Plugin()

@plugin.tool
async def add(a: int, b: int = 2) -> int:
    return a + b

@plugin.tool
async def wait(name: str) -> None:
    print("began:", name, flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled:", name, flush=True)

@plugin.tool
async def flood(n: int) -> int:
    for i in range(n):
        plugin.api.progress(i, n)
    plugin.api.progress(n, n)
    return n

@plugin.tool
async def count(n: int):
    for i in range(n):
        yield i

@plugin.tool
async def large(size: int) -> bytes:
    return bytes(size)

@plugin.tool
async def fail() -> None:
    raise ToolError("no", code="\\x00" * 100)
"""


class Client:
    """A client made of a socket and the protocol, which sends what it likes."""

    def __init__(self, path: Path) -> None:
        self.socket = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self._decoder = FrameDecoder(2**25)
        self._messages: list[Message] = []

    def send(self, *messages: Message) -> None:
        for message in messages:
            payload = encode(message)
            self.socket.sendall(frame_header(len(payload)) + payload)

    def receive(self) -> Message:
        while not self._messages:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._messages += map(decode_message, self._decoder.feed(data))
        return self._messages.pop(0)

    def outcome(self) -> Message:
        """The next message that is no progress."""
        while isinstance(message := self.receive(), Progress):
            pass
        return message

    def is_turned_away(self) -> bool:
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionResetError):
            return True


def call(id: int, tool: str, credit: int = 0, **params: Any) -> Call:
    request = CallTool(tool, Raw(encode(params)))
    return Call(id, "host.call", Raw(encode(request)), CallMeta(credit=credit))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("control") / "s"


@pytest.fixture(scope="module")
def host(path: Path) -> Iterator[Process]:
    write_plugin(path.parent, "demo", CODE)
    with running_host(path.parent / "demo", socket=path) as host:
        yield host


@pytest.fixture
def client(host: Process, path: Path) -> Iterator[Client]:
    client = Client(path)
    with client.socket:
        yield client


def works(path: Path) -> bool:
    """Whether the host answers another client."""
    client = Client(path)
    with client.socket:
        client.send(call(1, "demo.add", a=1))
        return client.outcome() == Result(1, Raw(encode(3)))


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff" * 100,
        b"GET / HTTP/1.1\r\n\r\n",
        frame_header(3) + b"abc",
        frame_header(0),
        frame_header(1) + b"\xc1",
        frame_header(5) + b"\x91" * 5,
        frame_header(100_000) + b"\x91" * 100_000,
        struct.pack(">I", 2**32 - 1),
    ],
)
def test_bytes_that_are_no_protocol_end_the_connection(
    client: Client, path: Path, sent: bytes
) -> None:
    client.socket.sendall(sent)
    assert client.is_turned_away()
    assert works(path)


@pytest.mark.parametrize(
    "messages",
    [
        [Result(1, Raw(encode(1)))],
        [Error(7, "x", "x")],
        [Chunk(1, Raw(encode(1)))],
        [Progress(1, 1.0)],
        [Hello(1, 1, "x", "y")],
        [call(2, "demo.add", a=1), call(2, "demo.add", a=1)],
        [call(2, "demo.add", a=1), call(1, "demo.add", a=1)],
    ],
)
def test_messages_that_are_not_a_clients_to_send_end_the_connection(
    client: Client, path: Path, messages: list[Message]
) -> None:
    client.send(*messages)
    assert client.is_turned_away()
    assert works(path)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("host.nothing", {}, "unknown_method"),
        ("tool:add", {"a": 1}, "unknown_method"),
        ("host.list", {"x": 1}, "invalid_params"),
        ("host.list", [1, 2], "invalid_params"),
        ("host.tools", {"plugin": 7}, "invalid_params"),
        ("host.tools", {"plugin": "x" * 1000}, "invalid_params"),
        ("host.call", {"tool": "demo.add"}, "invalid_params"),
        ("host.call", {"tool": "", "params": {}}, "invalid_params"),
        ("host.call", {"tool": "demo.add", "params": {"a": 1}, "timeout": 0}, "invalid_params"),
        ("host.call", {"tool": "demo.add", "params": [1]}, "invalid_params"),
        ("host.call", {"tool": "demo.add", "params": {"a": "x"}}, "invalid_params"),
        ("host.call", {"tool": "demo.add", "params": {1: 2}}, "invalid_params"),
        ("host.call", {"tool": "demo.add", "params": [[]] * 250_000}, "invalid_params"),
        ("host.call", {"tool": "demo.none", "params": {}}, "unknown_method"),
    ],
)
def test_a_request_that_cannot_be_is_refused_and_the_next_one_answered(
    client: Client, method: str, params: object, code: str
) -> None:
    client.send(Call(1, method, Raw(encode(params))))
    refused = client.receive()
    assert isinstance(refused, Error)
    assert (refused.id, refused.code) == (1, code)
    client.send(call(2, "demo.add", a=1))
    assert client.receive() == Result(2, Raw(encode(3)))


def test_requests_run_side_by_side_and_are_bounded(client: Client) -> None:
    client.send(*(call(i, "demo.wait", name="many") for i in range(1, 34)))
    refused = client.receive()
    assert isinstance(refused, Error)
    assert (refused.id, refused.code) == (33, "overloaded")


def test_a_request_that_is_taken_back_is_cancelled_in_the_worker(
    client: Client, host: Process
) -> None:
    client.send(call(1, "demo.wait", name="taken back"))
    host.wait_for("began: taken back")
    client.send(Cancel(1), Cancel(1), Cancel(99), Ping(3))
    host.wait_for("cancelled: taken back")
    answers = [client.receive(), client.receive()]
    assert Pong(3) in answers
    (error,) = [answer for answer in answers if isinstance(answer, Error)]
    assert error.code == "cancelled"


def test_a_client_that_goes_away_is_cancelled_in_the_worker(client: Client, host: Process) -> None:
    client.send(call(1, "demo.wait", name="gone"))
    host.wait_for("began: gone")
    client.socket.close()
    host.wait_for("cancelled: gone")


def test_a_stream_sends_no_more_than_the_client_takes(client: Client) -> None:
    client.send(call(1, "demo.count", credit=2, n=5))
    assert [client.receive(), client.receive()] == [Chunk(1, Raw(encode(i))) for i in (0, 1)]
    client.send(Ping(1))
    assert client.receive() == Pong(1)  # and no third chunk before it
    client.send(Credit(1, 100), Credit(99, 1))
    assert [client.receive() for _ in range(3)] == [Chunk(1, Raw(encode(i))) for i in (2, 3, 4)]
    assert client.receive() == Result(1, Raw(encode(None)))


def test_a_tool_that_does_not_stream_is_not_called_for_a_stream(client: Client) -> None:
    client.send(call(1, "demo.add", credit=2, a=1))
    refused = client.receive()
    assert isinstance(refused, Error)
    assert "does not stream" in refused.message


def test_progress_is_thinned_out_and_its_end_is_told(client: Client) -> None:
    client.send(call(1, "demo.flood", n=5000))
    seen = []
    while isinstance(message := client.receive(), Progress):
        seen.append(message)
    assert message == Result(1, Raw(encode(5000)))
    assert (seen[0].done, seen[-1].done) == (0, 5000)
    assert len(seen) < 1000


def test_a_result_that_just_fits_a_workers_frame_fits_ours(client: Client) -> None:
    client.send(call(1, "demo.large", size=16 * 2**20 - 100))
    answer = client.receive()
    assert isinstance(answer, Result)
    assert len(decode_value(answer.value)) == 16 * 2**20 - 100


def test_an_error_code_that_a_plugin_made_up_stays_within_the_protocol(client: Client) -> None:
    client.send(call(1, "demo.fail"))
    assert isinstance(client.receive(), Error)


def test_a_client_that_asks_and_does_not_read_is_dropped(client: Client, path: Path) -> None:
    client.send(*(call(i, "demo.large", size=4 * 2**20) for i in range(1, 13)))
    assert works(path)
    assert client.is_turned_away()


def test_the_connections_are_bounded(host: Process, path: Path) -> None:
    clients = [Client(path) for _ in range(65)]
    try:
        assert clients[-1].is_turned_away()
    finally:
        for client in clients:
            client.socket.close()


def test_tool_info_is_what_a_tool_is() -> None:
    assert list(ToolInfo.__struct_fields__) == [field.name for field in dataclasses.fields(Tool)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_turned_away_even_where_the_file_lets_them_in(host: Process) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "s")
        plugin = write_plugin(Path(folder), "demo", CODE)
        with running_host(plugin, socket=path):
            path.chmod(0o666)
            code = (
                "import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
                "s.connect(sys.argv[1]); sys.exit(len(s.recv(1)))"
            )
            stranger = subprocess.run(
                ["/usr/bin/python3", "-c", code, str(path)], user=65534, timeout=30, check=False
            )
            assert stranger.returncode == 0  # the end of the connection, and no answer
            assert plughost("list", socket=path).code == 0
