"""The plugin cache: its methods by themselves, and its service between real plugins."""

from collections.abc import AsyncIterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from plughost import Host, InvalidParams, PluginConfig
from plughost_sdk import ToolError as ToolMistake

from .conftest import MakePlugin, trusting

pytestmark = pytest.mark.anyio

PLUGIN = Path(__file__).parent.parent / "plugins" / "cache"


def _load() -> Any:
    spec = spec_from_file_location("cache", PLUGIN / "plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


module = _load()


class _Clock:
    """A clock that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_value_is_found_until_its_time_is_over() -> None:
    clock = _Clock()
    cache = module.Cache(clock)
    await cache.set("default", 1)
    await cache.set("short", {"a": [b"\x00", None]}, 10)
    clock.now = 9.9
    assert await cache.get("short") == {"a": [b"\x00", None]}
    clock.now = 10.0
    assert await cache.get("short") is None
    assert await cache.get("default") == 1
    clock.now = 3600.0
    assert await cache.get("default") is None
    stats = await cache.stats()
    assert (stats.hits, stats.misses, stats.entries, stats.bytes) == (2, 2, 0, 0)


async def test_what_was_used_least_goes_first() -> None:
    cache = module.Cache(_Clock())
    await cache.configure(max_size=2)
    await cache.set("one", 1)
    await cache.set("two", 2)
    await cache.get("one")
    await cache.set("three", 3)
    assert [await cache.get(key) for key in ("one", "two", "three")] == [1, None, 3]
    assert (await cache.configure(max_size=1)).evictions == 2
    assert await cache.get("three") == 3


async def test_memory_is_bounded_and_counted() -> None:
    cache = module.Cache(_Clock())
    for n in range(5):
        await cache.set(f"k{n}", bytes(10_000_000))
    stats = await cache.stats()
    assert (stats.entries, stats.evictions) == (3, 2)
    assert 30_000_000 < stats.bytes < 32_000_000
    with pytest.raises(ToolMistake, match="over"):
        await cache.set("huge", bytes(33_000_000))
    assert await cache.clear() == 3
    assert (await cache.stats()).bytes == 0


async def test_a_key_is_forgotten() -> None:
    cache = module.Cache(_Clock())
    await cache.set("k", 1)
    assert await cache.delete("k") is True
    assert await cache.delete("k") is False


USER = """
from plughost_sdk import Plugin

plugin = Plugin()
asked = []


@plugin.tool
async def predict(metric: str, horizon: int) -> dict:
    cache = plugin.api.services.get("cache")
    key = f"prediction:{metric}:{horizon}"
    if (known := await cache.get(key)) is None:
        asked.append(metric)
        known = [float(n) for n in range(horizon)]
        await cache.set(key, known, 3600)
    return {"predictions": known, "computed": len(asked)}
"""


@pytest.fixture
async def host(make_plugin: MakePlugin) -> AsyncIterator[Host]:
    permissions = ["tools:register", "services:use:cache"]
    folder = make_plugin("user", USER, permissions=permissions, dependencies=["cache"])
    config = trusting(plugins={"cache": PluginConfig(config={"max_size": 3})})
    async with Host([PLUGIN, folder], config) as host:
        assert not host.problems
        yield host


async def test_another_plugin_computes_only_what_is_not_there_yet(host: Host) -> None:
    params = {"metric": "sessions", "horizon": 2}
    for _ in range(2):
        answer = await host.call("user.predict", params)
        assert answer == {"predictions": [0.0, 1.0], "computed": 1}
    stats = await host.call("cache.stats")
    assert (stats["hits"], stats["misses"], stats["max_size"]) == (1, 1, 3)
    assert await host.call("cache.clear") == 1
    assert (await host.call("user.predict", params))["computed"] == 2


async def test_it_offers_its_tools_and_its_service_by_their_names(host: Host) -> None:
    names = ["clear", "configure", "delete", "get", "set", "stats"]
    own = sorted(name for name in host.tools if name.startswith("cache."))
    assert own == [f"cache.{name}" for name in names]
    assert sorted(host.services.list()["cache"].methods) == [n for n in names if n != "configure"]
    with pytest.raises(InvalidParams):
        await host.services.get("cache").set("k", "v", -1)
