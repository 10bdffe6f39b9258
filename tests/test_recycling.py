"""Workers are replaced after so many calls, so long, or so much memory."""

from pathlib import Path
from typing import Any

import pytest

from plughost import Host, Limits, PluginConfig, State

from .conftest import trusting
from .event_plugins import take
from .swap_plugins import ANSWERS, Versions

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

EATS = (
    ANSWERS
    + """
kept = []

@plugin.tool
def eat(size: int) -> None:
    kept.append(bytearray(b"x" * size))
"""
)


def host_of(folder: Path, **limits: Any) -> Host:
    return Host([folder], trusting(plugins={"demo": PluginConfig(limits=Limits(**limits))}))


async def test_a_worker_is_replaced_after_so_many_calls(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with (
        host_of(tmp_path, recycle_calls=50) as host,
        host.events.subscribe("plugin.reloaded") as reloaded,
    ):
        plugin = host.plugin("demo")
        first = plugin.pid
        for number in range(60):
            assert await host.call("demo.version", {"number": number}) == [number, 1]
        await take(reloaded, 1)
        assert plugin.pid != first
        assert (plugin.state, plugin.restarts) == (State.ACTIVE, 0)


async def test_a_worker_is_replaced_after_so_long(tmp_path: Path) -> None:
    Versions(tmp_path).write(1)
    async with (
        host_of(tmp_path, recycle_after=0.1) as host,
        host.events.subscribe("plugin.reloaded") as reloaded,
    ):
        await take(reloaded, 2)
        assert host.plugin("demo").stats.swaps >= 2


async def test_a_worker_is_replaced_from_so_much_memory_on(tmp_path: Path) -> None:
    Versions(tmp_path).write(1, EATS)
    async with (
        host_of(tmp_path, recycle_memory="100MB") as host,
        host.events.subscribe("plugin.reloaded") as reloaded,
    ):
        await host.call("demo.eat", {"size": 100_000_000})
        await take(reloaded, 1)
        assert host.plugin("demo").last_exit is None


async def test_a_worker_that_cannot_be_replaced_goes_on(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with host_of(tmp_path, recycle_calls=5) as host:
        plugin = host.plugin("demo")
        versions.write(2, "raise ValueError('no such luck')")
        for number in range(10):
            await host.call("demo.version", {"number": number})
        while not plugin.reload_error:
            assert await host.call("demo.version", {"number": 1}) == [1, 1]
        assert (plugin.state, plugin.stats.swaps) == (State.ACTIVE, 0)
