"""The HTTP client against real servers: what it sends, what it follows, what it cuts off."""

import contextlib
import gzip
import logging
import os
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trustme

from plughost import HttpConfig, PlughostError, Secret
from plughost.network.resolver import Resolve
from plughost.services.http.client import Answer, Exchange, HttpClient, Wanted
from plughost.services.http.errors import HttpFailed, HttpRefused, HttpTimeout, HttpTooLarge
from plughost.services.http.secrets import SecretBox
from plughost.services.http.url import Url, parse_url

from .http_servers import Visit, WebServer, ok, web_server
from .network_servers import echo_server

pytestmark = pytest.mark.anyio

NAME = "api.example.com"
OTHER = "other.example.com"
VALUE = "ghp_0123456789abcdef"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def here(name: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@dataclass
class Kit:
    """A client, and what it has told of itself."""

    client: HttpClient
    exchanges: list[Exchange]
    asked: list[str]
    limits: HttpConfig
    may: Callable[[Url], None]

    async def send(self, url: str, method: str = "GET", **options: Any) -> Answer:
        wanted = Wanted(
            method=method,
            url=parse_url(url),
            headers=options.pop("headers", []),
            body=options.pop("body", None),
            follow=options.pop("follow", True),
            max_body=self.limits.max_response,
        )
        return await self.client.send(wanted, self.may, options.pop("timeout", 10.0))

    async def fetch(self, url: str, method: str = "GET", **options: Any) -> bytes:
        """The whole body."""
        answer = await self.send(url, method, **options)
        body = b""
        while part := await answer.body.read(100_000, options.get("timeout", 10.0), fill=True):
            body += part
        return body


@asynccontextmanager
async def kit(
    *,
    resolver: Resolve = here,
    private: tuple[str, ...] = (NAME, OTHER, "localhost"),
    secrets: dict[str, Secret] | None = None,
    tls: ssl.SSLContext | None = None,
    may: Callable[[Url], None] | None = None,
    **limits: Any,
) -> AsyncIterator[Kit]:
    exchanges: list[Exchange] = []
    asked: list[str] = []
    config = HttpConfig(**limits)

    def ask(url: Url) -> None:
        asked.append(f"{url.host}:{url.port}")
        if may is not None:
            may(url)

    client = HttpClient(
        "demo",
        config,
        tls or ssl.create_default_context(),
        resolver=resolver,
        secrets=SecretBox("demo", secrets or {}, private),
        private_hosts=private,
        audit=exchanges.append,
    )
    try:
        yield Kit(client, exchanges, asked, config, ask)
    finally:
        await client.aclose()


def at(server: WebServer, path: str = "/", name: str = NAME) -> str:
    return f"http://{name}:{server.port}{path}"


# What is sent


async def test_a_request_names_the_plugin_and_nothing_that_could_be_forged() -> None:
    with web_server(ok(b"hello", "X-A: 1", "x-a: 2")) as server:
        async with kit() as client:
            answer = await client.send(at(server, "/a?b=c"), headers=[("X-Thing", "1")])
            assert (answer.status, str(answer.url)) == (200, at(server, "/a?b=c"))
            assert answer.headers == [("Content-Length", "5"), ("X-A", "1"), ("x-a", "2")]
            assert await answer.body.read(100, 10.0, fill=True) == b"hello"
            assert answer.body.at_end
        (visit,) = server.visits
        assert visit.head.split("\r\n") == [
            "GET /a?b=c HTTP/1.1",
            f"Host: {NAME}:{server.port}",
            "User-Agent: plughost-plugin/demo",
            "Accept-Encoding: gzip, deflate",
            "Accept: */*",
            "X-Thing: 1",
        ]
        (exchange,) = client.exchanges
        assert (exchange.status, exchange.address, exchange.problem) == (200, "127.0.0.1", "")
        assert exchange.bytes_up > 100
        assert exchange.bytes_down > 50


async def test_a_body_is_sent_with_its_length() -> None:
    with web_server(lambda visit: visit.send(ok(visit.body))) as server:
        async with kit() as client:
            assert await client.fetch(at(server), "POST", body=b"x" * 300_000) == b"x" * 300_000
            assert await client.fetch(at(server), "POST") == b""
            assert await client.fetch(at(server), "DELETE") == b""
        assert [visit.header("content-length") for visit in server.visits] == [
            ["300000"],
            ["0"],
            [],
        ]


async def test_a_connection_is_used_again_but_never_by_another_client() -> None:
    with web_server(ok(b"x", "Set-Cookie: a=b")) as server:
        async with kit() as first, kit() as second:
            for client in (first, second, first, second):
                assert await client.fetch(at(server)) == b"x"
        assert server.connections == 2
        assert not any(visit.header("cookie") for visit in server.visits)


async def test_a_response_to_head_has_no_body_and_no_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\nContent-Encoding: br\r\n\r\n"
    with web_server(head) as server:
        async with kit() as client:
            assert await client.fetch(at(server), "HEAD") == b""


# Where to


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.64.0.1", "192.88.99.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1"),
        *("::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "fc00::1"),
        *("2002:7f00:1::", "2001::7f00:1", "fec0::1", "ff02::1", "fd00:ec2::254"),
    ],
)
async def test_no_inside_address_is_connected_to(address: str) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return [address]

    async with kit(resolver=resolve, private=()) as client:
        with pytest.raises(HttpRefused, match=r"no connection to api\.example\.com:443"):
            await client.send(f"https://{NAME}/")
        (exchange,) = client.exchanges
        assert exchange.problem
        assert not exchange.address


async def test_a_name_that_changes_its_address_changes_nothing() -> None:
    addresses = iter(["127.0.0.1", "169.254.169.254"])

    async def rebinding(name: str, port: int) -> list[str]:
        return [next(addresses)]

    with web_server(ok(b"x", "Connection: close")) as server:
        async with kit(resolver=rebinding) as client:
            assert await client.fetch(at(server)) == b"x"
            with pytest.raises(HttpRefused, match="metadata"):
                await client.fetch(at(server))


async def test_an_inside_name_needs_the_operator() -> None:
    with web_server(ok(b"x")) as server:
        async with kit(private=("localhost",)) as client:
            assert await client.fetch(at(server, name="localhost")) == b"x"
            with pytest.raises(HttpRefused, match="the operator can allow"):
                await client.fetch(at(server))
        async with kit(private=()) as client:
            with pytest.raises(HttpRefused, match="one label"):
                await client.fetch(at(server, name="localhost"))
        assert server.connections == 1


async def test_a_name_that_is_not_found_and_a_port_where_nobody_listens_fail() -> None:
    async def not_found(name: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with kit(resolver=not_found) as client:
        with pytest.raises(HttpFailed, match="no such name"):
            await client.send(f"https://{NAME}/")
    with web_server(ok()) as server:
        pass
    async with kit() as client:
        with pytest.raises(HttpFailed, match=r"127\.0\.0\.1: "):
            await client.send(at(server))


PROXIED = """
import ssl, sys, anyio
from plughost import HttpConfig
from plughost.services.http.client import HttpClient, Wanted
from plughost.services.http.url import parse_url
from plughost.services.http.secrets import SecretBox

async def here(name, port):
    return ["127.0.0.1"]

async def main():
    client = HttpClient(
        "demo", HttpConfig(), ssl.create_default_context(), resolver=here,
        secrets=SecretBox("demo", {}), private_hosts=["api.example.com"], audit=print,
    )
    wanted = Wanted("GET", parse_url(sys.argv[1]), [], None, True, 1000)
    answer = await client.send(wanted, lambda url: None, 10.0)
    print((await answer.body.read(100, 10.0, fill=True)).decode())

anyio.run(main)
"""


def test_a_proxy_of_the_environment_is_not_asked() -> None:
    with web_server(ok(b"the server")) as server, web_server(ok(b"the proxy")) as proxy:
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        environment = os.environ | dict.fromkeys(names, f"http://127.0.0.1:{proxy.port}")
        done = subprocess.run(
            [sys.executable, "-c", PROXIED, at(server)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
        assert "the server" in done.stdout
        assert proxy.connections == 0


# Redirects


def redirecting(location: str, status: str = "302 Found") -> Callable[[Visit], None]:
    def answer(visit: Visit) -> None:
        port = visit.header("host")[0].partition(":")[2]
        again = visit.target == "/"
        there = location.replace("PORT", port)
        visit.send(ok(b"", f"Location: {there}", status=status) if again else ok(b"end"))

    return answer


async def test_a_redirect_is_followed_and_asked_for_again() -> None:
    with web_server(redirecting(f"http://{OTHER}:PORT/end")) as server:
        async with kit() as client:
            answer = await client.send(at(server))
            assert str(answer.url) == at(server, "/end", OTHER)
            await answer.body.aclose()
        assert client.asked == [f"{NAME}:{server.port}", f"{OTHER}:{server.port}"]
        assert [each.status for each in client.exchanges] == [302, 200]


async def test_a_redirect_is_left_alone_where_the_plugin_wants_it_itself() -> None:
    with web_server(redirecting("/end")) as server:
        async with kit() as client:
            answer = await client.send(at(server), follow=False)
            assert (answer.status, dict(answer.headers)["Location"]) == (302, "/end")
            await answer.body.aclose()


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "address"),
        ("http://metadata.example.com/", "metadata"),
        ("http://[::1]/", "address"),
        ("http://0x7f000001/", "address"),
        ("file:///etc/passwd", "scheme"),
        ("http://user:word@api.example.com/", "no user"),
        ("http://api.example.com:25/", "another protocol"),
    ],
)
async def test_a_redirect_inside_is_refused(location: str, reason: str) -> None:
    async def resolve(name: str, port: int) -> list[str]:
        return ["169.254.169.254" if "metadata" in name else "127.0.0.1"]

    with web_server(redirecting(location)) as server:
        async with kit(resolver=resolve) as client:
            with pytest.raises(HttpRefused, match=reason):
                await client.send(at(server))


async def test_a_redirect_that_is_not_permitted_ends_the_request() -> None:
    def may(url: Url) -> None:
        if url.host != NAME:
            raise PlughostError("not granted")

    with web_server(redirecting(f"http://{OTHER}:PORT/end")) as server:
        async with kit(may=may) as client:
            with pytest.raises(PlughostError, match="not granted"):
                await client.send(at(server))
        assert len(server.visits) == 1
        assert [each.problem for each in client.exchanges] == ["", "not granted"]


async def test_redirects_without_end_are_counted() -> None:
    with web_server(ok(b"", "Location: /", status="307 Again")) as server:
        async with kit(max_redirects=3) as client:
            with pytest.raises(HttpRefused, match="more than 3 redirects"):
                await client.send(at(server))
        assert len(server.visits) == 4


async def test_what_is_personal_does_not_cross_to_another_server() -> None:
    personal = [("Authorization", "Basic abc"), ("Cookie", "a=b"), ("X-Thing", "1")]
    with web_server(redirecting(f"http://{OTHER}:PORT/end")) as server:
        async with kit() as client:
            assert await client.fetch(at(server), headers=personal) == b"end"
        assert [visit.header("authorization") for visit in server.visits] == [["Basic abc"], []]
        assert [visit.header("cookie") for visit in server.visits] == [["a=b"], []]
        assert [visit.header("x-thing") for visit in server.visits] == [["1"], ["1"]]
    with web_server(redirecting("/end")) as server:
        async with kit() as client:
            await client.fetch(at(server), headers=personal)
        assert server.visits[1].header("authorization") == ["Basic abc"]


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        ("301 Moved", "POST", "GET", b""),
        ("302 Found", "POST", "GET", b""),
        ("303 See Other", "PUT", "GET", b""),
        ("303 See Other", "HEAD", "HEAD", b"data"),
        ("307 Again", "POST", "POST", b"data"),
        ("308 Moved", "PUT", "PUT", b"data"),
        ("302 Found", "PUT", "PUT", b"data"),
    ],
)
async def test_methods_change_on_redirects_as_in_browsers(
    status: str, method: str, then: str, body: bytes
) -> None:
    with web_server(redirecting("/end", status)) as server:
        async with kit() as client:
            headers = [("Content-Type", "text/plain")]
            await client.fetch(at(server), method, body=b"data", headers=headers)
        end = server.visits[-1]
        assert (end.head.split(" ")[0], end.body) == (then, body)
        assert bool(end.header("content-type")) == bool(body)


# What comes back


def compressed(data: bytes, *headers: str) -> bytes:
    return ok(gzip.compress(data), "Content-Encoding: gzip", *headers)


async def test_a_compressed_body_is_decoded() -> None:
    with web_server(compressed(b"hello " * 100_000)) as server:
        async with kit() as client:
            assert await client.fetch(at(server)) == b"hello " * 100_000


async def test_a_body_over_the_limit_is_cut_at_once() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    def flood(visit: Visit) -> None:
        visit.send(head)
        while True:
            visit.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")

    with web_server(flood) as server:
        async with kit(max_response=1_000_000) as client:
            with pytest.raises(HttpTooLarge, match=r"over the limit of 1\.0 MB"):
                await client.fetch(at(server))
        assert server.closed.acquire(timeout=30)
    with web_server(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n") as server:
        async with kit(max_response=1_000_000) as client:
            with pytest.raises(HttpTooLarge, match=r"5\.0 MB, over the limit"):
                await client.send(at(server))


async def test_a_bomb_of_ten_gigabytes_costs_no_more_than_the_limit() -> None:
    bomb = gzip.compress(bytes(100_000_000)) * 100
    headers = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n"

    def explode(visit: Visit) -> None:
        visit.send(headers.encode())
        visit.send(bomb)

    with web_server(explode) as server:
        async with kit() as client:
            answer = await client.send(at(server))
            tracemalloc.start()
            try:
                with pytest.raises(HttpTooLarge, match="over the limit"):
                    await _drop(answer)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert peak < 4_000_000


async def _drop(answer: Answer) -> None:
    while await answer.body.read(100_000, 10.0, fill=True):
        pass


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", "'br'"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\njunk", "damaged"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", "chunk"),
        (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", "header"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no response"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "upgrade"),
        (b"", "disconnected"),
    ],
)  # fmt: skip
async def test_what_is_no_response_fails(response: bytes, reason: str) -> None:
    def answer(visit: Visit) -> None:
        visit.send(response)
        raise OSError("that was all")

    with web_server(answer) as server:
        async with kit() as client:
            with pytest.raises(HttpFailed, match=f"(?i){reason}"):
                await client.fetch(at(server))
            assert client.exchanges[-1].problem


async def test_a_body_that_ends_too_early_fails() -> None:
    def answer(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhello")
        raise OSError("that was all")

    with web_server(answer) as server:
        async with kit() as client:
            with pytest.raises(HttpFailed, match="no response that can be read"):
                await client.fetch(at(server))


async def test_a_second_response_is_not_taken_for_that_of_the_next_request() -> None:
    with web_server(ok(b"first") + ok(b"smuggled")) as server:
        async with kit() as client:
            assert await client.fetch(at(server, "/a")) == b"first"
            with contextlib.suppress(HttpFailed):
                assert await client.fetch(at(server, "/b")) == b"first"


@pytest.mark.parametrize(
    "endless", [b"X-Header: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", b"a" * 1000, b"x:\r\n"]
)
async def test_headers_without_end_are_cut(endless: bytes) -> None:
    def answer(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            visit.send(endless * 50)

    with web_server(answer) as server:
        async with kit() as client:
            with pytest.raises((HttpTooLarge, HttpFailed)):
                await client.send(at(server))
        assert server.closed.acquire(timeout=30)


async def test_too_many_headers_and_interim_responses_without_end_are_cut() -> None:
    with web_server(ok(b"", *["x: y"] * 1000)) as server:
        async with kit() as client:
            with pytest.raises(HttpTooLarge, match="1001 headers"):
                await client.send(at(server))

    def answer(visit: Visit) -> None:
        while True:
            visit.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    with web_server(answer) as server:
        async with kit() as client:
            with pytest.raises(HttpTooLarge, match="for one response"):
                await client.send(at(server))


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"1;" + b"e" * 5000 + b"\r\nx\r\n"])
async def test_a_body_in_tiny_chunks_is_cut(chunk: bytes) -> None:
    def answer(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            visit.send(chunk * 100)

    with web_server(answer) as server:
        async with kit(max_response=200_000) as client:
            with pytest.raises(HttpTooLarge):
                await client.fetch(at(server))


async def test_a_server_that_gives_a_byte_now_and_then_runs_out_of_time() -> None:
    def trickle(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not visit.is_closed_within(0.02):
            visit.send(b"a")

    with web_server(trickle) as server:
        async with kit() as client:
            with pytest.raises(HttpTimeout, match="did not answer within 200 ms"):
                await client.send(at(server), timeout=0.2)
        assert server.closed.acquire(timeout=30)
        assert client.exchanges[-1].problem == "cut off"


async def test_a_body_that_does_not_come_runs_out_of_time() -> None:
    def stall(visit: Visit) -> None:
        visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        while not visit.is_closed_within(30):
            pass

    with web_server(stall) as server:
        async with kit() as client:
            answer = await client.send(at(server))
            assert await answer.body.read(100, 10.0, fill=False) == b"hello"
            with pytest.raises(HttpTimeout, match="the rest did not come within 100 ms"):
                await answer.body.read(100, 0.1, fill=False)
            assert answer.body.closed
        assert server.closed.acquire(timeout=30)


# TLS


def tls_pair(*names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


async def test_a_certificate_is_asked_for_and_must_be_for_the_name() -> None:
    server_side, client_side = tls_pair(NAME)
    with web_server(ok(b"x"), server_side) as server:
        url = f"https://{NAME}:{server.port}/"
        async with kit(tls=client_side) as client:
            for _ in range(2):
                assert await client.fetch(url) == b"x"
            assert server.connections == 1
            with pytest.raises(HttpFailed, match=r"certificate of other\.example\.com .*mismatch"):
                await client.fetch(url.replace(NAME, OTHER))
        async with kit() as client:
            with pytest.raises(HttpFailed, match="not accepted"):
                await client.fetch(url)
    with echo_server() as no_tls:
        async with kit(tls=client_side) as client:
            with pytest.raises(HttpFailed, match="no TLS connection"):
                await client.fetch(f"https://{NAME}:{no_tls.port}/")


# Secrets


async def test_a_secret_goes_out_and_does_not_come_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(visit: Visit) -> None:
        sent = visit.header("authorization")[0]
        assert sent == f"Bearer {VALUE}"
        visit.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
            + f"X-Echo: {sent}\r\nLocation: /?{VALUE}\r\n\r\n".encode()
        )
        for byte in sent.encode():
            visit.send(b"1\r\n%c\r\n" % byte)
        visit.send(b"0\r\n\r\n")

    server_side, client_side = tls_pair(NAME)
    with web_server(echo, server_side) as server:
        secrets = {"token": Secret(VALUE, hosts=(f"{NAME}:{server.port}",))}
        async with kit(tls=client_side, secrets=secrets) as client:
            headers = [("Authorization", "Bearer {{secret:token}}")]
            answer = await client.send(f"https://{NAME}:{server.port}/", headers=headers)
            seen = [repr(answer.headers)]
            while part := await answer.body.read(7, 10.0, fill=False):
                seen.append(part.decode())
            assert "".join(seen[1:]) == "Bearer [secret:token]"
            assert ("X-Echo", "Bearer [secret:token]") in answer.headers
            seen += [repr(client.exchanges), repr(client.client), caplog.text]
            assert not any(VALUE in text for text in seen)


async def test_a_secret_is_not_sent_over_http_nor_to_another_host() -> None:
    headers = [("X-Key", "{{secret:token}}")]
    with web_server(ok()) as server:
        secrets = {"token": Secret(VALUE, hosts=(f"{NAME}:{server.port}",))}
        async with kit(secrets=secrets) as client:
            with pytest.raises(HttpRefused, match="over https only"):
                await client.send(at(server), headers=headers)
            with pytest.raises(HttpRefused, match=r"not for other\.example\.com"):
                await client.send(at(server, name=OTHER), headers=headers)
            with pytest.raises(HttpRefused, match="no secret 'gitlab'"):
                await client.send(at(server), headers=[("X-Key", "{{secret:gitlab}}")])
        assert server.connections == 0


@pytest.mark.parametrize("location", [f"http://{OTHER}:PORT/end?KEY", f"http://{NAME}:1024/KEY"])
async def test_a_secret_does_not_follow_a_redirect_to_another_server(location: str) -> None:
    def leak(visit: Visit) -> None:
        redirecting(location.replace("KEY", VALUE))(visit)

    with web_server(leak) as server:
        secrets = {"token": Secret(VALUE, hosts=(f"{NAME}:{server.port}", OTHER), plain_http=True)}
        async with kit(secrets=secrets) as client:
            with contextlib.suppress(HttpFailed):  # nobody listens at the other port
                await client.fetch(at(server), headers=[("X-Key", "a {{secret:token}}")])
        first, *others = server.visits
        assert first.header("x-key") == [f"a {VALUE}"]
        assert not any(VALUE in visit.head for visit in others)
        assert not any(VALUE in repr(exchange) for exchange in client.exchanges)


async def test_an_error_that_quotes_the_server_tells_no_secret() -> None:
    def answer(visit: Visit) -> None:
        visit.send(f"HTTP/1.1 200 OK\r\n{VALUE}\r\n\r\n".encode())

    with web_server(answer) as server:
        secrets = {"token": Secret(VALUE, hosts=(f"{NAME}:{server.port}",), plain_http=True)}
        async with kit(secrets=secrets) as client:
            with pytest.raises(HttpFailed) as failed:
                await client.send(at(server), headers=[("X-Key", "{{secret:token}}")])
            assert VALUE not in str(failed.value)
            assert VALUE not in repr(failed.value.__cause__)
