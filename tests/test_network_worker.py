"""A real worker that is granted a host, with the libraries that plugins use."""

from collections.abc import Iterator, Sequence

import pytest

from plughost import Host, PluginConfig

from .conftest import MakePlugin, trusting
from .network_servers import http_server

NAME = "api.plughost.test"

CODE = """
import asyncio, socket, urllib.request
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.tool
def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()

@plugin.tool
async def get_by_asyncio(host: str, port: int) -> str:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET / HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()

@plugin.tool
def connect(address: str, port: int) -> str:
    with socket.create_connection((address, port), timeout=5):
        return "connected"

@plugin.tool
def resolve(name: str) -> list[str]:
    return sorted({entry[4][0] for entry in socket.getaddrinfo(name, 80)})
"""


@pytest.fixture
def server() -> Iterator[int]:
    """The port of an HTTP server on the machine's loopback, which answers with the request."""
    with http_server() as served:
        yield served.port


async def _at_home(name: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def _asks(port: int) -> list[object]:
    reason = "to ask it"
    return ["tools:register", {"permission": f"net:connect:{NAME}:{port}", "reason": reason}]


@pytest.mark.anyio
async def test_any_library_reaches_a_granted_host_and_nothing_else(
    make_plugin: MakePlugin, server: int
) -> None:
    folder = make_plugin("talks", CODE, permissions=_asks(server))
    config = trusting(resolver=_at_home, plugins={"talks": PluginConfig(private_hosts=(NAME,))})
    async with Host([folder], config) as host:
        assert host.problems == {}
        url = f"http://{NAME}:{server}/"
        assert "GET / HTTP/1.1" in await host.call("talks.get", {"url": url})
        answer = await host.call("talks.get_by_asyncio", {"host": NAME, "port": server})
        assert f"Host: {NAME}" in answer
        for address in ("127.0.0.1", "10.0.0.1", "93.184.215.14", "169.254.169.254"):
            with pytest.raises(Exception, match=r"refused|reset|unreachable|Connection"):
                await host.call("talks.get", {"url": f"http://{address}:{server}/"})
        with pytest.raises(Exception, match=r"Permission|permitted"):
            await host.call("talks.connect", {"address": NAME, "port": server + 1})
        with pytest.raises(Exception, match=r"Name or service not known|resolution"):
            await host.call("talks.resolve", {"name": "elsewhere.example.com"})
        noted = [entry.message for entry in host.plugin("talks").log.entries]
        assert any(f"connection to {NAME}:{server} (127.0.0.1) done" in line for line in noted)


@pytest.mark.anyio
async def test_a_name_that_leads_to_a_private_address_is_refused(
    make_plugin: MakePlugin, server: int
) -> None:
    folder = make_plugin("talks", CODE, permissions=_asks(server))
    async with Host([folder], trusting(resolver=_at_home)) as host:
        with pytest.raises(Exception, match=r"reset|closed|Remote"):
            await host.call("talks.get", {"url": f"http://{NAME}:{server}/"})
        noted = [entry.message for entry in host.plugin("talks").log.entries]
        assert any("refused" in line and "127.0.0.1" in line for line in noted), noted
