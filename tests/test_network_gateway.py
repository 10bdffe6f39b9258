"""The gateway as a worker meets it: sockets in a namespace of its own, real servers outside."""

import os
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.to_thread
import pytest

from plughost.catalog.host_names import HostRule
from plughost.network.client import ClientStream
from plughost.network.gateway import Gateway
from plughost.network.limits import NetworkLimits
from plughost.network.plan import network_plan
from plughost.network.record import Connection, Outcome
from plughost.network.resolver import Resolve

from .network_namespace import Namespace, network_namespace
from .network_servers import Server, echo_server, http_server, mute_server, tls_server
from .test_network_dns import query
from .test_network_tls import real_hello

pytestmark = pytest.mark.anyio

NAME = "api.example.com"
FIRST = "127.64.0.1"
"""Where the first exact name of a plan is."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with network_namespace() as held:
        yield held


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with echo_server() as server:
        yield server


@pytest.fixture(scope="module")
def http() -> Iterator[Server]:
    with http_server() as server:
        yield server


async def to_this_machine(name: str, port: int) -> list[str]:
    return ["127.0.0.1"]


class Audit:
    """The records as they come."""

    def __init__(self) -> None:
        self.fails = False
        self._records: deque[Connection] = deque()
        self._came = anyio.Event()

    def __call__(self, connection: Connection) -> None:
        if self.fails:
            raise RuntimeError("no space left")
        self._records.append(connection)
        self._came.set()

    async def next(self) -> Connection:
        while not self._records:
            self._came = anyio.Event()
            await self._came.wait()
        return self._records.popleft()


class Worker:
    """What a plugin can do in its namespace."""

    def __init__(self, namespace: Namespace, audit: Audit) -> None:
        self.audit = audit
        self.namespace = namespace
        self._open: list[socket.socket] = []

    async def connect(self, address: str, port: int) -> ClientStream:
        plain = self.namespace.tcp()
        self._open.append(plain)
        await anyio.to_thread.run_sync(plain.connect, (address, port))
        return ClientStream(plain)

    async def ask(self, packet: bytes) -> bytes:
        """The answer of the name server; fails when there is none."""
        with self.namespace.udp() as plain:
            plain.settimeout(10)
            plain.connect(("127.0.0.1", 53))
            plain.send(packet)
            return await anyio.to_thread.run_sync(plain.recv, 600)

    def close(self) -> None:
        for plain in self._open:
            plain.close()


@asynccontextmanager
async def gateway(
    namespace: Namespace,
    *rules: str,
    resolver: Resolve = to_this_machine,
    allow_private: frozenset[str] | None = None,
    **limits: Any,
) -> AsyncIterator[Worker]:
    parsed = [HostRule.parse(rule) for rule in rules]
    plan = network_plan(parsed)
    audit = Audit()
    worker = Worker(namespace, audit)
    served = Gateway(
        "weather",
        parsed,
        namespace.listeners(plan.listeners),
        audit,
        limits=NetworkLimits(**limits),
        resolver=resolver,
        allow_private={NAME} if allow_private is None else allow_private,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(served.serve)
        try:
            with anyio.fail_after(30):
                yield worker
        finally:
            tasks.cancel_scope.cancel()
            worker.close()


async def read_all(client: ClientStream) -> bytes:
    data = b""
    while more := await client.receive():
        data += more
    return data


async def flood(client: ClientStream) -> None:
    while True:
        await client.send(bytes(1_000_000))


async def is_reset(client: ClientStream) -> bool:
    try:
        await read_all(client)
    except ConnectionResetError:
        return True
    return False


async def connecting_is_reset(worker: Worker, address: str, port: int) -> bool:
    """Whether a connection breaks off; that may be seen while it is made."""
    try:
        return await is_reset(await worker.connect(address, port))
    except ConnectionResetError:
        return True


def https_get(plain: socket.socket, name: str, context: ssl.SSLContext) -> bytes:
    plain.setblocking(True)
    with context.wrap_socket(plain, server_hostname=name) as tls:
        tls.sendall(b"GET / HTTP/1.1\r\nHost: " + name.encode() + b"\r\n\r\n")
        return b"".join(iter(lambda: tls.recv(65536), b""))


async def test_a_connection_to_a_names_address_reaches_its_host(
    namespace: Namespace, echo: Server
) -> None:
    async with gateway(namespace, f"{NAME}:{echo.port}") as worker:
        client = await worker.connect(FIRST, echo.port)
        await client.send(b"hello")
        assert await client.receive() == b"hello"
        # Half closed: what is on its way back still comes.
        await client.send(b"x" * 1_000_000)
        client.send_eof()
        assert await read_all(client) == b"x" * 1_000_000
        record = await worker.audit.next()
    assert (record.plugin, record.name, record.port) == ("weather", NAME, echo.port)
    assert (record.address, record.outcome, record.reason) == ("127.0.0.1", Outcome.DONE, "")
    assert (record.bytes_up, record.bytes_down) == (1_000_005, 1_000_005)
    assert record.seconds > 0


async def test_an_address_without_a_name_is_reset(namespace: Namespace, echo: Server) -> None:
    async with gateway(namespace, f"{NAME}:{echo.port}") as worker:
        for address in ("127.0.0.1", "127.64.0.2", "127.255.255.254"):
            assert await connecting_is_reset(worker, address, echo.port)
            record = await worker.audit.next()
            assert (record.name, record.outcome) == ("", Outcome.REFUSED)
            assert address in record.reason


async def test_a_port_of_another_name_is_reset(namespace: Namespace, echo: Server) -> None:
    came = echo.connections
    async with gateway(namespace, f"b.example.com:{echo.port}", "a.example.com:9") as worker:
        assert await connecting_is_reset(worker, FIRST, echo.port)
        record = await worker.audit.next()
    assert record.reason == f"port {echo.port} of a.example.com is not granted"
    assert echo.connections == came


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "127.0.0.1", "64:ff9b::7f00:1", "::ffff:10.0.0.1"]
)
async def test_a_name_that_leads_inside_is_reset(namespace: Namespace, address: str) -> None:
    async def rebound(name: str, port: int) -> list[str]:
        return [address]

    nobody: frozenset[str] = frozenset()
    async with gateway(namespace, NAME, resolver=rebound, allow_private=nobody) as worker:
        assert await connecting_is_reset(worker, FIRST, 80)
        record = await worker.audit.next()
    assert (record.name, record.address, record.outcome) == (NAME, "", Outcome.REFUSED)


async def test_a_server_that_is_not_there_is_a_reset_and_the_next_connection_works(
    namespace: Namespace, echo: Server
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with gateway(namespace, f"{NAME}:{port}", f"{NAME}:{echo.port}") as worker:
            assert await connecting_is_reset(worker, FIRST, port)
            assert (await worker.audit.next()).outcome is Outcome.FAILED
            client = await worker.connect(FIRST, echo.port)
            await client.send(b"hello")
            assert await client.receive() == b"hello"


async def test_tls_for_the_granted_name_goes_through_end_to_end(namespace: Namespace) -> None:
    with tls_server(NAME) as (server, context):
        async with gateway(namespace, f"{NAME}:{server.port}") as worker:
            plain = namespace.tcp()
            plain.connect((FIRST, server.port))
            answer = await anyio.to_thread.run_sync(https_get, plain, NAME, context)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert (await worker.audit.next()).outcome is Outcome.DONE


async def test_tls_for_another_name_or_none_sends_nothing_out(namespace: Namespace) -> None:
    with tls_server(NAME) as (server, _):
        async with gateway(namespace, f"{NAME}:{server.port}") as worker:
            for name in ("evil.example.org", f"evil-{NAME}", f"{NAME}.evil.org", None):
                client = await worker.connect(FIRST, server.port)
                await client.send(real_hello(name))
                assert await is_reset(client)
                record = await worker.audit.next()
                assert (record.outcome, record.bytes_up) == (Outcome.REFUSED, 0)
                assert "TLS hello names" in record.reason


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no TLS handshake"),
        (real_hello(None), "names no server"),
        (real_hello("evil.example.org"), "names 'evil.example.org'"),
        (b"\x16\x03\x01\x00\x00", "a TLS record of 0 bytes"),
    ],
)
async def test_port_443_is_for_tls_and_for_the_name_before_anything_is_dialled(
    namespace: Namespace, sent: bytes, reason: str
) -> None:
    async def no_lookup(name: str, port: int) -> list[str]:
        raise AssertionError(name)

    async with gateway(namespace, NAME, resolver=no_lookup) as worker:
        client = await worker.connect(FIRST, 443)
        await client.send(sent)
        assert await is_reset(client)
        record = await worker.audit.next()
        assert record.outcome is Outcome.REFUSED
        assert reason in record.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="a server on port 443 needs root")
async def test_https_on_its_own_port_works_by_address_and_by_connect(namespace: Namespace) -> None:
    with tls_server(NAME, port=443) as (_, context):
        async with gateway(namespace, NAME) as worker:
            plain = namespace.tcp()
            plain.connect((FIRST, 443))
            answer = await anyio.to_thread.run_sync(https_get, plain, NAME, context)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert (await worker.audit.next()).outcome is Outcome.DONE

            tunnel = namespace.tcp()
            tunnel.connect(("127.0.0.1", 3128))
            tunnel.sendall(f"CONNECT {NAME}:443 HTTP/1.1\r\n\r\n".encode())
            established = await anyio.to_thread.run_sync(tunnel.recv, 1000)
            assert established.startswith(b"HTTP/1.1 200 ")
            answer = await anyio.to_thread.run_sync(https_get, tunnel, NAME, context)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert (await worker.audit.next()).outcome is Outcome.DONE


async def proxied(worker: Worker, request: str) -> bytes:
    client = await worker.connect("127.0.0.1", 3128)
    await client.send(request.encode())
    answer = await read_all(client)
    client.close(orderly=True)
    return answer


async def test_the_proxy_makes_a_tunnel_to_a_granted_host(
    namespace: Namespace, echo: Server
) -> None:
    async with gateway(namespace, f"{NAME}:{echo.port}") as worker:
        client = await worker.connect("127.0.0.1", 3128)
        await client.send(f"CONNECT {NAME.upper()}.:{echo.port} HTTP/1.1\r\n\r\nearly".encode())
        assert await client.receive() == b"HTTP/1.1 200 Connection established\r\n\r\n"
        client.send_eof()
        assert await read_all(client) == b"early"
        record = await worker.audit.next()
    assert (record.name, record.port, record.bytes_up) == (NAME, echo.port, 5)


async def test_a_tunnel_is_held_to_the_name_in_the_tls_hello(namespace: Namespace) -> None:
    with tls_server(NAME) as (server, _):
        async with gateway(namespace, f"{NAME}:{server.port}") as worker:
            client = await worker.connect("127.0.0.1", 3128)
            await client.send(f"CONNECT {NAME}:{server.port} HTTP/1.1\r\n\r\n".encode())
            assert b" 200 " in await client.receive()
            await client.send(real_hello("evil.example.org"))
            assert await is_reset(client)
            assert (await worker.audit.next()).bytes_up == 0


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("evil.example.org:443", 403),
        (f"evil-{NAME}:443", 403),
        (f"{NAME}.evil.org:443", 403),
        (f"{NAME}:22", 403),
        (f"{NAME}@evil.example.org:443", 400),
        (f"{NAME}%00.evil.org:443", 400),
        ("169.254.169.254:80", 400),
        ("2852039166:80", 400),
        ("0xa9fea9fe:80", 400),
        ("0251.0376.0251.0376:80", 400),
        ("[::ffff:169.254.169.254]:80", 400),
        ("[64:ff9b::a9fe:a9fe]:80", 400),
        ("localhost:3128", 403),
        ("xn--pi-7ba.example.com:443", 403),
        ("a" * 300 + ".example.com:443", 400),
    ],
)
async def test_the_proxy_refuses_what_is_not_granted_and_says_so(
    namespace: Namespace, target: str, status: int
) -> None:
    async with gateway(namespace, NAME) as worker:
        answer = await proxied(worker, f"CONNECT {target} HTTP/1.1\r\n\r\n")
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        record = await worker.audit.next()
        assert (record.outcome, record.address) == (Outcome.REFUSED, "")


async def test_the_proxy_passes_on_one_plain_request_with_its_own_host(
    namespace: Namespace, http: Server
) -> None:
    async with gateway(namespace, f"{NAME}:{http.port}") as worker:
        url = f"http://{NAME}:{http.port}/p"
        smuggled = f"GET {url} HTTP/1.1\r\nHost: internal.example.org\r\n\r\n"
        request = f"POST {url} HTTP/1.1\r\nHost: other\r\nContent-Length: 4\r\n\r\nbody{smuggled}"
        answer = await proxied(worker, request)
        assert answer.count(b"HTTP/1.1 200 OK") == 1
        assert f"POST /p HTTP/1.1\r\nhost: {NAME}:{http.port}\r\n".encode() in answer
        assert answer.endswith(b"\r\n\r\nbody")
        assert b"internal" not in answer


async def test_the_proxy_says_that_a_name_leads_inside(namespace: Namespace) -> None:
    nobody: frozenset[str] = frozenset()
    async with gateway(namespace, NAME, allow_private=nobody) as worker:
        answer = await proxied(worker, f"GET http://{NAME}/ HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 Forbidden")
    assert b"loopback" in answer


async def test_a_request_head_without_an_end_is_refused(namespace: Namespace) -> None:
    async with gateway(namespace, NAME) as worker:
        answer = await proxied(worker, f"GET http://{NAME}/ HTTP/1.1\r\nX: " + "x" * 20_000)
        assert answer.startswith(b"HTTP/1.1 431 ")
        client = await worker.connect("127.0.0.1", 3128)
        await client.send(b"GET / HT")
        client.send_eof()
        assert (await read_all(client)).startswith(b"HTTP/1.1 400 ")


async def test_a_slow_head_and_a_slow_hello_are_cut(namespace: Namespace) -> None:
    async with gateway(namespace, NAME, head_timeout=0.1) as worker:
        client = await worker.connect("127.0.0.1", 3128)
        await client.send(b"CONNECT ")
        assert (await read_all(client)).startswith(b"HTTP/1.1 408 ")
        assert (await worker.audit.next()).outcome is Outcome.CUT
        client = await worker.connect(FIRST, 443)
        await client.send(b"\x16\x03\x01")
        assert await is_reset(client)
        record = await worker.audit.next()
        assert (record.outcome, record.reason) == (
            Outcome.CUT,
            "no whole TLS hello within 100 ms",
        )


async def test_a_connection_on_which_nothing_moves_is_cut(
    namespace: Namespace, echo: Server
) -> None:
    async with gateway(namespace, f"{NAME}:{echo.port}", idle_timeout=0.1) as worker:
        assert await connecting_is_reset(worker, FIRST, echo.port)
        record = await worker.audit.next()
        assert (record.outcome, record.reason) == (Outcome.CUT, "nothing moved for 100 ms")


async def test_a_connection_is_cut_at_its_bytes(namespace: Namespace, echo: Server) -> None:
    async with gateway(namespace, f"{NAME}:{echo.port}", connection_bytes=100_000) as worker:
        client = await worker.connect(FIRST, echo.port)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            await flood(client)
        record = await worker.audit.next()
        assert (record.outcome, record.reason) == (Outcome.CUT, "over 100 kB")


async def test_a_server_that_does_not_read_holds_the_worker_back(namespace: Namespace) -> None:
    with mute_server() as server:
        async with gateway(namespace, f"{NAME}:{server.port}", idle_timeout=0.3) as worker:
            client = await worker.connect(FIRST, server.port)
            with pytest.raises(ConnectionError):
                await flood(client)
            record = await worker.audit.next()
    # What the kernel's buffers of both connections hold, and not what the worker would send.
    assert record.outcome is Outcome.CUT
    assert record.bytes_up < 16_000_000


async def test_connections_over_the_limit_wait_until_one_ends(
    namespace: Namespace, echo: Server
) -> None:
    async with gateway(namespace, f"{NAME}:{echo.port}", connections=2) as worker:
        clients = [await worker.connect(FIRST, echo.port) for _ in range(3)]
        for client in clients:
            await client.send(b"hello")
        for client in clients[:2]:
            assert await client.receive() == b"hello"
        with anyio.move_on_after(0.1) as scope:
            await clients[2].receive()
        assert scope.cancelled_caught
        clients[0].close(orderly=True)
        assert await clients[2].receive() == b"hello"


async def test_a_worker_that_hangs_up_at_any_point_disturbs_nobody(
    namespace: Namespace, echo: Server
) -> None:
    rules = (NAME, f"{NAME}:{echo.port}")
    async with gateway(namespace, *rules, connections_per_second=1000) as worker:
        steady = await worker.connect(FIRST, echo.port)
        for port, sent in ((echo.port, b"x"), (echo.port, b""), (443, b"\x16"), (443, b"")):
            for orderly in (True, False):
                client = await worker.connect(FIRST, port)
                await client.send(sent)
                client.close(orderly=orderly)
                assert (await worker.audit.next()).name == NAME
        client = await worker.connect("127.0.0.1", 3128)
        client.close(orderly=False)
        assert (await worker.audit.next()).outcome is Outcome.DONE
        await steady.send(b"still here")
        assert await steady.receive() == b"still here"


async def test_an_audit_that_fails_does_not_end_the_gateway(
    namespace: Namespace, echo: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(namespace, f"{NAME}:{echo.port}") as worker:
        worker.audit.fails = True
        for _ in range(2):
            client = await worker.connect(FIRST, echo.port)
            await client.send(b"hello")
            client.send_eof()
            assert await read_all(client) == b"hello"
    assert "the audit of weather failed" in caplog.text


async def test_the_end_of_the_worker_closes_and_records_every_connection(
    namespace: Namespace, echo: Server
) -> None:
    records: list[Connection] = []
    rules = [HostRule.parse(f"{NAME}:{echo.port}")]
    listeners = namespace.listeners(network_plan(rules).listeners)
    served = Gateway(
        "weather", rules, listeners, records.append, resolver=to_this_machine, allow_private={NAME}
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(served.serve)
        client = ClientStream(plain := namespace.tcp())
        plain.setblocking(True)
        await anyio.to_thread.run_sync(plain.connect, (FIRST, echo.port))
        plain.setblocking(False)
        await client.send(b"hello")
        assert await client.receive() == b"hello"
        assert repr(served) == f"<Gateway weather open=1: {NAME}:{echo.port}>"
        tasks.cancel_scope.cancel()
    assert await is_reset(client)
    client.close(orderly=True)
    assert [(record.outcome, record.reason) for record in records] == [
        (Outcome.CUT, "the worker ended")
    ]
    assert all(listener.fileno() == -1 for listener in listeners)


async def test_a_name_under_a_wildcard_is_looked_up_and_reached(
    namespace: Namespace, echo: Server
) -> None:
    allowed = frozenset({"a.b.example.com"})
    async with gateway(namespace, f"*.example.com:{echo.port}", allow_private=allowed) as worker:
        answered = await worker.ask(query("A.b.example.com"))
        address = socket.inet_ntoa(answered[-4:])
        assert address.startswith("127.64.")
        client = await worker.connect(address, echo.port)
        await client.send(b"hello")
        assert await client.receive() == b"hello"
        client.close(orderly=True)
        assert (await worker.audit.next()).name == "a.b.example.com"


async def test_names_without_a_rule_do_not_exist_and_are_recorded_once(
    namespace: Namespace,
) -> None:
    async with gateway(namespace, "*.example.com") as worker:
        for _ in range(3):
            answered = await worker.ask(query("evil-example.com"))
            assert answered[3] & 0x0F == 3
        await worker.ask(query("example.com.evil.org"))
        first, second = await worker.audit.next(), await worker.audit.next()
    assert [first.name, second.name] == ["evil-example.com", "example.com.evil.org"]
    assert (first.port, first.outcome) == (0, Outcome.REFUSED)


async def test_garbage_to_the_name_server_gets_no_answer_and_the_next_query_does(
    namespace: Namespace,
) -> None:
    async with gateway(namespace, "*.example.com"):
        with namespace.udp() as plain:
            plain.connect(("127.0.0.1", 53))
            for packet in (b"", b"\0", bytes(12), b"\xff" * 600, query("a.example.com")[:-1]):
                plain.send(packet)
            plain.settimeout(10)
            plain.send(query("a.example.com"))
            answered = await anyio.to_thread.run_sync(plain.recv, 600)
    assert answered[:2] == query("")[:2]
    assert answered[7] == 1


async def test_labels_that_carry_data_stay_inside_and_are_bounded(namespace: Namespace) -> None:
    async def no_lookup(name: str, port: int) -> list[str]:
        raise AssertionError(name)

    async with gateway(namespace, "*.example.com", resolver=no_lookup, names=3) as worker:
        answers = [await worker.ask(query(f"data{number}.example.com")) for number in range(5)]
    assert [answered[7] for answered in answers] == [1, 1, 1, 0, 0]


def answers_until_silence(plain: socket.socket) -> int:
    plain.settimeout(0.2)
    answered = 0
    with suppress(TimeoutError):
        while plain.recv(600):
            answered += 1
    return answered


async def test_queries_beyond_the_rate_are_dropped(namespace: Namespace) -> None:
    async with gateway(namespace, "*.example.com", queries_per_second=1):
        with namespace.udp() as plain:
            plain.connect(("127.0.0.1", 53))
            for _ in range(50):
                plain.send(query("a.example.com"))
            assert 0 < await anyio.to_thread.run_sync(answers_until_silence, plain) < 50


FILES = {
    "/etc/hosts": "hosts",
    "/etc/resolv.conf": "resolv_conf",
    "/etc/nsswitch.conf": "nsswitch_conf",
}


@pytest.mark.parametrize("rule", [NAME, "*.example.com"])
async def test_urllib_reaches_a_host_by_its_name_with_no_proxy_setting(
    http: Server, rule: str
) -> None:
    text = f"{rule}:{http.port}"
    plan = network_plan([HostRule.parse(text)])
    files = {path: getattr(plan, name) for path, name in FILES.items()}
    code = f"""
from urllib.error import URLError
from urllib.request import build_opener, ProxyHandler
def get(name):
    opener = build_opener(ProxyHandler({{}}))
    with opener.open("http://" + name + ":{http.port}/", timeout=10) as response:
        return response.read().decode()
try:
    get("evil-{NAME}.example.org")
except URLError as exc:
    answer = [get("{NAME}"), str(exc.reason)]
"""
    with network_namespace(files) as namespace:
        async with gateway(namespace, text) as worker:
            answer, refused = await anyio.to_thread.run_sync(namespace.run, code)
            assert f"Host: {NAME}:{http.port}" in answer
            assert "not known" in refused
            outcomes = {(await worker.audit.next()).outcome for _ in rule.split("*")}
    assert outcomes == {Outcome.DONE} | ({Outcome.REFUSED} if "*" in rule else set())


async def test_urllib_can_be_told_to_use_the_proxy(namespace: Namespace, http: Server) -> None:
    async with gateway(namespace, f"{NAME}:{http.port}"):
        code = f"""
from urllib.request import build_opener, ProxyHandler
opener = build_opener(ProxyHandler({{"http": "http://127.0.0.1:3128"}}))
with opener.open("http://{NAME}:{http.port}/", timeout=10) as response:
    answer = response.status
"""
        assert await anyio.to_thread.run_sync(namespace.run, code) == 200


@pytest.mark.parametrize(
    "target", ["('127.0.0.1', {port})", "('10.0.0.1', 80)", "('1.1.1.1', 443)"]
)
async def test_there_is_no_way_past_the_gateway(
    namespace: Namespace, echo: Server, target: str
) -> None:
    with socket.create_connection(("127.0.0.1", echo.port)):
        """The control: from outside the namespace it is there."""
    async with gateway(namespace, NAME):
        code = f"""
import socket
try:
    socket.create_connection({target.format(port=echo.port)}, 5).close()
    answer = "connected"
except OSError as exc:
    answer = exc.strerror
"""
        assert await anyio.to_thread.run_sync(namespace.run, code) in (
            "Connection refused",
            "Network is unreachable",
        )
