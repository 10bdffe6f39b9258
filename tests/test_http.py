"""The http service as a plugin in a real worker uses it."""

import gzip
import json
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from plughost import (
    Host,
    HostConfig,
    HostMisuse,
    HttpConfig,
    PluginConfig,
    Rates,
    Secret,
    ToolError,
)

from .conftest import MakePlugin, trusting
from .http_servers import Visit, WebServer, ok, web_server

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
NAME = "api.example.com"
VALUE = "ghp_0123456789abcdef"

CODE = """
    import asyncio
    from typing import Any
    from plughost_sdk import HostError, HttpError, Plugin

    plugin = Plugin()
    streams = {}

    def shown(response):
        return {
            "status": response.status,
            "headers": response.headers.pairs,
            "url": response.url,
            "body": response.body,
            "ok": response.ok,
        }

    @plugin.tool
    async def fetch(url: str, method: str = "GET", options: dict[str, Any] = {}) -> Any:
        return shown(await plugin.api.http.request(method, url, **options))

    @plugin.tool
    def fetch_blocking(url: str) -> Any:
        return shown(plugin.api.blocking.http.get(url))

    @plugin.tool
    async def short_forms(url: str) -> list:
        http = plugin.api.http
        answers = [
            await http.get(url, params={"q": ["a b", "c"]}),
            await http.head(url),
            await http.post(url, {"a": 1}),
            await http.put(url, body="text"),
            await http.patch(url, json=[1], headers={"Content-Type": "text/json"}),
            await http.delete(url, headers=[("X-A", "1"), ("X-A", "2")]),
        ]
        return [answer.text for answer in answers]

    @plugin.tool
    async def views(url: str) -> list:
        response = await plugin.api.http.get(url)
        headers = response.headers
        return [
            response.json(),
            response.text,
            headers["X-MULTI"],
            headers.get_all("x-multi"),
            "x-multi" in headers,
            len(headers),
            response.elapsed >= 0,
        ]

    @plugin.tool
    async def code_of(url: str, options: dict[str, Any] = {}) -> list:
        if size := options.pop("size", 0):
            options["body"] = bytes(size)
        try:
            await plugin.api.http.get(url, **options)
        except HostError as exc:
            return [type(exc).__name__, exc.code, str(exc)]
        return []

    @plugin.tool
    async def raised_for_status(url: str) -> str:
        response = await plugin.api.http.get(url)
        try:
            response.raise_for_status()
        except HttpError as exc:
            return f"{exc.code}: {exc}"
        return "fine"

    @plugin.tool
    async def read_all(url: str) -> list:
        sizes = []
        async with plugin.api.http.stream("GET", url) as response:
            assert response.status == 200
            async for chunk in response:
                sizes.append(len(chunk))
        return [max(sizes), sum(sizes)]

    @plugin.tool
    async def lines(url: str) -> Any:
        seen = []
        async with plugin.api.http.stream("GET", url) as response:
            async for chunk in response:
                seen.append(chunk)
                await plugin.api.http.get(url + "more")
        return seen

    @plugin.tool
    async def open_stream(url: str) -> int:
        manager = plugin.api.http.stream("GET", url)
        streams[len(streams)] = manager, await manager.__aenter__()
        return len(streams)

    @plugin.tool
    async def close_stream() -> None:
        manager, _ = streams.popitem()[1]
        await manager.__aexit__(None, None, None)

    @plugin.tool
    async def read_stream(twice: bool = False) -> bytes:
        _, stream = streams[0]
        if twice:
            await asyncio.gather(stream.read(), stream.read())
        return await stream.read()

    @plugin.tool
    async def raw(method: str, params: dict[str, Any]) -> Any:
        return await plugin.api._link.request(method, params)
"""


async def resolve(name: str, port: int) -> list[str]:
    return ["169.254.169.254" if "metadata" in name else "127.0.0.1"]


@asynccontextmanager
async def host(
    make_plugin: MakePlugin,
    permission: str = "http:outbound",
    *,
    http: HttpConfig | None = None,
    secrets: dict[str, Secret] | None = None,
) -> AsyncIterator[Host]:
    folder = make_plugin("web", CODE, permissions=["tools:register", permission])
    config = trusting(
        http=http or HttpConfig(),
        resolver=resolve,
        rates=Rates(operations=None),
        plugins={"web": PluginConfig(private_hosts=(NAME, "localhost"), secrets=secrets or {})},
    )
    async with Host([folder], config=config) as running:
        yield running


def at(server: WebServer, path: str = "/", name: str = NAME) -> str:
    return f"http://{name}:{server.port}{path}"


def logged(running: Host) -> list[tuple[str, str]]:
    return [
        (entry.level, entry.message)
        for entry in running.plugin("web").log.entries
        if entry.source == "host" and " up, " in entry.message
    ]


def echo(visit: Visit) -> None:
    visit.send(ok(b"" if visit.head.startswith("HEAD") else visit.head.encode() + visit.body))


@BOTH
async def test_a_plugin_makes_requests(make_plugin: MakePlugin) -> None:
    with web_server(echo) as server:
        async with host(make_plugin) as running:
            answer = await running.call("web.fetch", {"url": at(server, "/a?secret=1#x")})
            assert answer["status"] == 200
            assert answer["ok"]
            assert answer["url"] == at(server, "/a?secret=1")
            assert b"User-Agent: plughost-plugin/web\r\n" in answer["body"]
            blocking = await running.call("web.fetch_blocking", {"url": at(server, "/a")})
            assert blocking["body"].startswith(b"GET /a HTTP/1.1\r\n")
            ((level, line), _) = logged(running)
            assert level == "debug"
            assert line.startswith(f"GET {at(server, '/a')} (127.0.0.1) 200; ")
            assert "secret" not in line


async def test_the_short_forms_say_what_they_are_named_for(make_plugin: MakePlugin) -> None:
    with web_server(echo) as server:
        async with host(make_plugin) as running:
            get, head, post, put, patch, delete = await running.call(
                "web.short_forms", {"url": at(server, "/x")}
            )
    assert get.startswith("GET /x?q=a+b&q=c HTTP/1.1\r\n")
    assert head == ""
    assert post.endswith('\r\nContent-Type: application/json{"a":1}')
    assert put.startswith("PUT ")
    assert put.endswith("\r\nContent-Length: 4text")
    assert patch.endswith("\r\nContent-Type: text/json[1]")
    assert delete.endswith("\r\nX-A: 1\r\nX-A: 2")


async def test_a_response_is_read_as_json_text_and_headers(make_plugin: MakePlugin) -> None:
    headers = ["Content-Type: application/json; charset=latin-1", "X-Multi: a,b", "x-multi: c"]
    with web_server(ok(b'{"n": 1}', *headers)) as server:
        async with host(make_plugin) as running:
            assert await running.call("web.views", {"url": at(server)}) == [
                {"n": 1},
                '{"n": 1}',
                "a,b, c",
                ["a,b", "c"],
                True,
                3,
                True,
            ]


@BOTH
async def test_a_large_body_comes_in_parts_and_arrives_whole(make_plugin: MakePlugin) -> None:
    whole = bytes(range(256)) * 14_000
    with web_server(ok(whole)) as server:
        async with host(make_plugin) as running:
            answer = await running.call("web.fetch", {"url": at(server)})
            assert answer["body"] == whole
            largest, total = await running.call("web.read_all", {"url": at(server)})
            assert (largest <= 1024 * 1024, total) == (True, len(whole))
            sent = {"url": at(server), "method": "PUT", "options": {"body": "x" * 3_500_000}}
            await running.call("web.fetch", sent)
        assert server.visits[-1].body == b"x" * 3_500_000


@BOTH
async def test_a_streamed_body_comes_as_the_server_sends_it(make_plugin: MakePlugin) -> None:
    asked = threading.Semaphore(0)

    def events(visit: Visit) -> None:
        if visit.target == "/more":
            asked.release()
            visit.send(ok())
            return
        visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            visit.send(b"2\r\n%d\n\r\n" % number)
            assert asked.acquire(timeout=30)  # the plugin asks for more when it has read this
        visit.send(b"0\r\n\r\n")

    with web_server(events) as server:
        async with host(make_plugin) as running:
            seen = await running.call("web.lines", {"url": at(server)})
            assert seen == [b"0\n", b"1\n", b"2\n"]


# What is refused


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        (f"http:outbound:{NAME}:PORT", True),
        ("http:outbound:*.example.com:PORT", True),
        (f"http:outbound:{NAME}", False),
        ("http:outbound:other.example.com:PORT", False),
    ],
)
async def test_a_permission_may_name_the_hosts(
    make_plugin: MakePlugin, granted: str, allowed: bool
) -> None:
    with web_server(ok(b"x")) as server:
        permission = granted.replace("PORT", str(server.port))
        async with host(make_plugin, permission) as running:
            answer = await running.call("web.code_of", {"url": at(server)})
            if allowed:
                assert answer == []
            else:
                assert answer[:2] == ["PermissionDenied", "permission_denied"]
                assert f"http:outbound:{NAME}:{server.port}" in answer[2]
            denied = await running.call("web.code_of", {"url": at(server, name="localhost")})
            assert denied[0] == "PermissionDenied"
        assert server.connections == allowed


async def test_without_the_permission_nothing_is_requested(make_plugin: MakePlugin) -> None:
    with web_server(ok(b"x")) as server:
        async with host(make_plugin, "storage:read") as running:
            answer = await running.call("web.code_of", {"url": at(server)})
            assert answer[0] == "PermissionDenied"
        assert server.connections == 0


async def test_a_redirect_is_held_against_the_permission(make_plugin: MakePlugin) -> None:
    def away(visit: Visit) -> None:
        visit.send(ok(b"", f"Location: http://localhost:{server.port}/", status="302 Found"))

    with web_server(away) as server:
        async with host(make_plugin, f"http:outbound:{NAME}:{server.port}") as running:
            answer = await running.call("web.code_of", {"url": at(server)})
            assert answer[0] == "PermissionDenied"
            assert logged(running)[-1][0] == "warning"
        assert len(server.visits) == 1


@pytest.mark.parametrize(
    ("url", "options", "code", "words"),
    [
        ("http://metadata.example.com/", {}, "http_refused", "metadata service"),
        ("http://other.example.com/", {}, "http_refused", "the operator can allow"),
        ("http://127.0.0.1/", {}, "http_refused", "is an address"),
        ("http://2130706433/", {}, "http_refused", "is an address"),
        ("http://db/", {}, "http_refused", "one label"),
        ("file:///etc/passwd", {}, "http_refused", "no scheme"),
        (f"http://{NAME}/?{{{{secret:a}}}}", {}, "http_refused", "value of a header"),
        (f"http://{NAME}/", {"timeout": 3600.0}, "http_refused", "limit of 60 s"),
        (f"http://{NAME}/", {"headers": {"Host": "x"}}, "http_refused", "the host's to send"),
        (f"http://{NAME}/", {"headers": {"X": "a\r\nb"}}, "http_refused", "line end"),
        (f"http://{NAME}/", {"headers": {"X": "{{secret:a}}"}}, "http_refused", "no secret 'a'"),
        (f"http://{NAME}/", {"size": 11_000_000}, "http_too_large", "over the limit"),
        (f"http://{NAME}/", {"timeout": -1}, "invalid_params", "timeout"),
        (f"http://{NAME}:1024/", {}, "http_failed", "127.0.0.1"),
    ],
)
async def test_an_error_says_what_and_why(
    make_plugin: MakePlugin, url: str, options: dict[str, Any], code: str, words: str
) -> None:
    async with host(make_plugin) as running:
        answer = await running.call("web.code_of", {"url": url, "options": options})
        assert answer[0] == ("HostError" if code == "invalid_params" else "HttpError")
        assert answer[1] == code
        assert words in answer[2]


async def test_a_status_is_an_answer_and_raised_on_demand(make_plugin: MakePlugin) -> None:
    with web_server(ok(b"x", status="404 Not Found")) as server:
        async with host(make_plugin) as running:
            answer = await running.call("web.raised_for_status", {"url": at(server, "/gone")})
            assert answer == f"http_status: {at(server, '/gone')} answered 404"


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"method": "GET\r\nX: y", "url": "http://api.example.com/"},
        {"method": "get", "url": "http://api.example.com/"},
        {"method": "CONNECT", "url": "http://api.example.com/"},
        {"method": "GET", "url": "x" * 9000},
        {"method": "GET", "url": "http://api.example.com/", "proxy": "http://evil.example/"},
        {"method": "GET", "url": "http://api.example.com/", "headers": [["a", "b"]] * 101},
        {"method": "GET", "url": "http://api.example.com/", "headers": {"a": "b"}},
        {"method": "GET", "url": "http://api.example.com/", "timeout": 1e300},
    ],
)
async def test_parameters_that_the_sdk_does_not_send_are_refused(
    make_plugin: MakePlugin, params: dict[str, Any]
) -> None:
    async with host(make_plugin) as running:
        with pytest.raises(ToolError, match=r"http\.request|CONNECT"):
            await running.call("web.raw", {"method": "http.request", "params": params})
        with pytest.raises(ToolError, match="no response 7 is open"):
            await running.call("web.raw", {"method": "http.read", "params": {"stream": 7}})
        await running.call("web.raw", {"method": "http.close", "params": {"stream": 7}})


async def test_a_bomb_ends_the_request_and_not_the_host(make_plugin: MakePlugin) -> None:
    bomb = gzip.compress(bytes(100_000_000)) * 20
    with web_server(ok(bomb, "Content-Encoding: gzip")) as server:
        async with host(make_plugin) as running:
            answer = await running.call("web.code_of", {"url": at(server)})
            assert answer[:2] == ["HttpError", "http_too_large"]
            assert (await running.call("web.code_of", {"url": at(server)}))[1] == "http_too_large"


# Secrets


async def test_a_plugin_uses_a_secret_that_it_never_sees(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    import ssl

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME).configure_cert(tls)

    def answer(visit: Visit) -> None:
        visit.send(ok(json.dumps(visit.head).encode(), f"X-Seen: {visit.header('x-key')[0]}"))

    with web_server(answer, tls) as server:
        secrets = {
            "github": Secret(VALUE, hosts=(f"{NAME}:{server.port}",)),
            "gitlab": Secret("another value", hosts=("gitlab.example.com",)),
        }
        config = HttpConfig(ca_file=tmp_path / "ca.pem")
        async with host(make_plugin, http=config, secrets=secrets) as running:
            url = f"https://{NAME}:{server.port}/"
            asked = {"url": url, "options": {"headers": {"X-Key": "k {{secret:github}}"}}}
            seen = await running.call("web.fetch", asked)
            assert server.visits[0].header("x-key") == [f"k {VALUE}"]
            assert ["X-Seen", "k [secret:github]"] in seen["headers"]
            assert b"[secret:github]" in seen["body"]
            lines = repr([entry.message for entry in running.plugin("web").log.entries])
            assert VALUE not in repr(seen) + lines
            for wrong in ("gitlab", "nothing"):
                asked["options"] = {"headers": {"X-Key": f"{{{{secret:{wrong}}}}}"}}
                kind, code, words = await running.call("web.code_of", asked)
                assert (kind, code) == ("HttpError", "http_refused")
                assert "github" not in words
        assert len(server.visits) == 1


async def test_what_an_operator_cannot_mean_stops_the_host(tmp_path: Path) -> None:
    short = PluginConfig(secrets={"x": Secret("short", hosts=("a.example.com",))})
    with pytest.raises(HostMisuse, match="the secret 'x' of plugin 'web'"):
        async with Host([tmp_path], config=HostConfig(plugins={"web": short})):
            pass
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        config = HostConfig(http=HttpConfig(ca_file=tmp_path / name))
        with pytest.raises(HostMisuse, match="holds no certificates"):
            async with Host([tmp_path], config=config):
                pass


@pytest.mark.parametrize(
    "settings",
    [{"timeout": 0.0}, {"timeout": 90.0}, {"max_response": -1}, {"streams": 40}, {"streams": 0}],
)
def test_limits_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(HostMisuse, match="HttpConfig"):
        HttpConfig(**settings)


# What stays open


def endless(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    while not visit.is_closed_within(30):
        pass


@BOTH
async def test_streams_are_bounded_and_end_with_the_worker(make_plugin: MakePlugin) -> None:
    with web_server(endless) as server:
        async with host(make_plugin, http=HttpConfig(streams=3)) as running:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(running.call, "web.open_stream", {"url": at(server)})
            with pytest.raises(ToolError, match="open streams of http") as refused:
                await running.call("web.open_stream", {"url": at(server)})
            assert refused.value.code == "overloaded"
            await running.call("web.close_stream")
            assert await _released(server)
            await running.call("web.open_stream", {"url": at(server)})
            worker = running.plugin("web").worker
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
            for _ in range(3):
                assert await _released(server)
            assert logged(running)[-1][1].count("closed before its end")


async def test_streams_that_are_opened_at_once_are_bounded_too(make_plugin: MakePlugin) -> None:
    refused: list[str] = []
    with web_server(endless) as server:
        async with host(make_plugin, http=HttpConfig(streams=3)) as running:

            async def open_one() -> None:
                try:
                    await running.call("web.open_stream", {"url": at(server)})
                except ToolError as exc:
                    refused.append(exc.code)

            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(open_one)
            assert refused == ["overloaded"] * 7


@BOTH
async def test_a_request_under_way_ends_with_the_worker(make_plugin: MakePlugin) -> None:
    came = threading.Event()

    def silent(visit: Visit) -> None:
        came.set()
        while not visit.is_closed_within(30):
            pass

    with web_server(silent) as server:
        async with host(make_plugin) as running, anyio.create_task_group() as tasks:

            async def fetch() -> None:
                with pytest.raises(Exception, match="died"):
                    await running.call("web.fetch", {"url": at(server)})

            tasks.start_soon(fetch)
            assert await anyio.to_thread.run_sync(came.wait, 30)
            worker = running.plugin("web").worker
            assert worker is not None
            os.kill(worker.pid, signal.SIGKILL)
            assert await _released(server)


@BOTH
async def test_a_stream_that_is_not_read_is_closed(make_plugin: MakePlugin) -> None:
    with web_server(endless) as server:
        async with host(make_plugin, http=HttpConfig(stream_idle=0.2)) as running:
            await running.call("web.open_stream", {"url": at(server)})
            assert await _released(server)
            with pytest.raises(ToolError, match="no response 1 is open"):
                await running.call("web.read_stream")


async def test_a_stream_is_read_by_one_at_a_time(make_plugin: MakePlugin) -> None:
    with web_server(endless) as server:
        async with host(make_plugin) as running:
            await running.call("web.open_stream", {"url": at(server)})
            assert await running.call("web.read_stream") == b"hello"
            with pytest.raises(ToolError, match="one read at a time"):
                await running.call("web.read_stream", {"twice": True})


async def test_a_stream_has_an_end_however_it_is_read(make_plugin: MakePlugin) -> None:
    with web_server(endless) as server:
        async with host(make_plugin, http=HttpConfig(stream_time=0.3)) as running:
            with pytest.raises(ToolError, match="the rest did not come"):
                await running.call("web.read_all", {"url": at(server)})
            assert await _released(server)


@BOTH
async def test_nothing_of_a_stream_stays_when_the_plugin_stops(make_plugin: MakePlugin) -> None:
    with web_server(endless) as server:
        async with host(make_plugin) as running:
            await running.call("web.open_stream", {"url": at(server)})
        assert await _released(server)


async def test_a_slow_server_costs_the_plugin_its_time(make_plugin: MakePlugin) -> None:
    with web_server(endless) as server:
        async with host(make_plugin, http=HttpConfig(timeout=0.3)) as running:
            answer = await running.call("web.code_of", {"url": at(server)})
            assert answer[:2] == ["HttpError", "timeout"]
        assert await _released(server)


async def _released(server: WebServer) -> bool:
    """Whether a connection ends."""
    return await anyio.to_thread.run_sync(lambda: server.closed.acquire(timeout=30))
