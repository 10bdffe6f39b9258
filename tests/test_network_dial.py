"""The way out: one lookup, judged addresses, and the address that was judged."""

import socket

import anyio
import pytest
from anyio.abc import SocketAttribute

from plughost.network.dial import DialFailed, DialRefused, dial, public_addresses
from plughost.network.resolver import Resolve, Resolver

from .network_servers import echo_server

pytestmark = pytest.mark.anyio

NAME = "api.example.com"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answers(*addresses: str) -> Resolve:
    async def resolve(name: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


async def no_lookup(name: str, port: int) -> list[str]:
    raise AssertionError(f"{name} was looked up")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "fe80::1%1",
        "0.0.0.0",
    ],
)
async def test_a_name_that_leads_inside_is_refused(address: str) -> None:
    with pytest.raises(DialRefused) as refused:
        await dial(NAME, 80, resolver=answers(address))
    assert (refused.value.name, refused.value.port) == (NAME, 80)


async def test_inside_addresses_among_public_ones_are_dropped() -> None:
    resolver = answers("127.0.0.1", "2606:4700::1111", "169.254.169.254", "::ffff:1.1.1.1")
    found = await public_addresses(NAME, 80, resolver=resolver)
    assert list(map(str, found)) == ["2606:4700::1111", "1.1.1.1"]


async def test_a_name_is_looked_up_once_and_the_judged_address_is_dialled() -> None:
    lookups = []

    async def rebinding(name: str, port: int) -> list[str]:
        lookups.append(name)
        return ["127.0.0.1"] if len(lookups) == 1 else ["169.254.169.254"]

    with echo_server() as server:
        async with await dial(
            NAME, server.port, resolver=rebinding, allow_private={NAME}
        ) as stream:
            assert stream.extra(SocketAttribute.remote_address) == ("127.0.0.1", server.port)
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
    assert lookups == [NAME]


async def test_an_allowed_name_reaches_no_metadata_service() -> None:
    with pytest.raises(DialRefused, match="metadata"):
        await dial(NAME, 80, resolver=answers("169.254.169.254"), allow_private={NAME})


async def test_what_is_allowed_for_one_name_is_not_for_another() -> None:
    with pytest.raises(DialRefused, match=r"loopback address \(RFC 1122\); the operator can allow"):
        await dial(NAME, 80, resolver=answers("127.0.0.1"), allow_private={"db.example.com"})


@pytest.mark.parametrize(
    "name", ["127.0.0.1", "2130706433", "0x7f000001", "localhost", "[::1]", ""]
)
async def test_what_is_no_name_is_not_even_looked_up(name: str) -> None:
    with pytest.raises(DialRefused):
        await dial(name, 80, resolver=no_lookup)


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with echo_server() as server:
        # Nobody listens at the other loopback address.
        resolver = answers("127.77.0.1", "127.0.0.1")
        async with await dial(NAME, server.port, resolver=resolver, allow_private={NAME}) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"


async def test_a_server_that_is_not_there_fails_with_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(DialFailed, match=r"127\.0\.0\.1: "):
            await dial(NAME, port, resolver=answers("127.0.0.1"), allow_private={NAME})


async def test_a_name_without_addresses_fails() -> None:
    async def not_found(name: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(DialFailed, match="Name or service not known"):
        await dial(NAME, 80, resolver=not_found)
    with pytest.raises(DialFailed, match="no address"):
        await dial(NAME, 80, resolver=answers())


async def test_a_resolver_that_never_answers_ends_with_the_time() -> None:
    async def hangs(name: str, port: int) -> list[str]:
        await anyio.sleep_forever()
        return []

    with pytest.raises(DialFailed, match="nothing within 50 ms"):
        await dial(NAME, 80, resolver=hangs, timeout=0.05)


async def test_the_resolver_of_the_machine_finds_localhost_many_times_at_once() -> None:
    resolver = Resolver()
    found: list[list[str]] = []

    async def look_up() -> None:
        found.append(await resolver("localhost", 80))

    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            tasks.start_soon(look_up)
    assert len(found) == 40
    assert all({"127.0.0.1", "::1"} & set(addresses) for addresses in found)


async def test_a_lookup_that_is_cancelled_returns_at_once_and_gives_its_turn_back() -> None:
    resolver = Resolver()
    for _ in range(20):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await resolver("localhost", 80)
    assert await resolver("localhost", 80)


async def test_a_name_that_the_machine_cannot_take_is_not_found() -> None:
    with pytest.raises(OSError):  # noqa: PT011 - each resolver has its own words
        await Resolver()("a..b" + "\udcff" * 3, 80)
