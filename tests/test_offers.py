"""What a plugin may offer, with a clock of our own."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from plughost import GRANT_ALL_ASKED, Limits, PermissionDenied, PlughostError, UnknownTool
from plughost.catalog.asks import Ask
from plughost.catalog.permissions import Permission
from plughost.exchange.entry import CompileBudget, OfferRefused
from plughost.exchange.tools import ToolRegistry
from plughost.lifecycle.offers import Offers
from plughost.policy.policy import Policy
from plughost.rpc.standing import Standing
from plughost.rpc.worker import Worker
from plughost_protocol import Description, ToolSpec

pytestmark = pytest.mark.anyio


class Provider:
    """A plugin without a worker."""

    id = "demo"
    limits = Limits()
    timeout = 30.0
    active_worker = None

    def __init__(self, step: float) -> None:
        self.budget = CompileBudget(ticking(step), ticking(step))

    async def wait_for_worker(self, timeout: float) -> Worker:
        raise NotImplementedError

    def count(self, error: PlughostError | None) -> None: ...


def worker(standing: Standing) -> Worker:
    return cast("Worker", SimpleNamespace(limits=Limits(), timeout=30.0, standing=standing))


SERVING = worker(Standing.SERVING)
LOADING = worker(Standing.LOADING)


def ticking(step: float) -> Callable[[], float]:
    """A clock that advances by `step` seconds each time it is read."""
    now = 0.0

    def read() -> float:
        nonlocal now
        now += step
        return now

    return read


def offers(registry: ToolRegistry, *permissions: str, step: float = 0.0) -> Offers:
    asks = [Ask(Permission.parse(text)) for text in permissions]
    policy = Policy("demo", asks, GRANT_ALL_ASKED)
    return Offers(Provider(step), policy, registry)


def spec(name: str) -> ToolSpec:
    return ToolSpec(name=name, input_schema={"type": "object"})


async def test_what_is_prepared_can_be_called_once_it_is_installed() -> None:
    registry = ToolRegistry(lambda _: None)
    mine = offers(registry, "tools:register")
    entries = await mine.prepare(Description([spec("one"), spec("two")]), SERVING)
    assert not list(registry)
    mine.install(entries)
    mine.add(spec("three"), SERVING)
    mine.remove("one", SERVING)
    assert [entry.tool.name for entry in registry] == ["demo.two", "demo.three"]
    with pytest.raises(UnknownTool):
        mine.remove("one", SERVING)


async def test_tools_need_the_permission_to_register_them() -> None:
    with pytest.raises(PermissionDenied, match="'tools:register'"):
        await offers(ToolRegistry(lambda _: None)).prepare(Description([spec("one")]), SERVING)
    assert await offers(ToolRegistry(lambda _: None)).prepare(Description([]), SERVING) == []


async def test_schemas_that_take_too_long_to_compile_are_refused() -> None:
    registry = ToolRegistry(lambda _: None)
    mine = offers(registry, "tools:register", step=0.5)
    with pytest.raises(OfferRefused, match="take too long to compile"):
        await mine.prepare(Description([spec(f"tool_{n}") for n in range(20)]), SERVING)
    with pytest.raises(OfferRefused, match="take too long to compile"):
        mine.add(spec("one_more"), SERVING)


async def test_a_name_that_is_taken_and_one_tool_too_many_are_refused() -> None:
    registry = ToolRegistry(lambda _: None)
    mine = offers(registry, "tools:register")
    with pytest.raises(OfferRefused, match="declared twice"):
        await mine.prepare(Description([spec("one"), spec("one")]), SERVING)
    with pytest.raises(OfferRefused, match="1000 tools"):
        await mine.prepare(Description([spec(f"t{n}") for n in range(1001)]), SERVING)
    mine.add(spec("one"), SERVING)
    with pytest.raises(OfferRefused, match="taken"):
        mine.add(spec("one"), SERVING)


async def test_what_a_worker_adds_while_it_is_loaded_stands_once_it_is_installed() -> None:
    registry = ToolRegistry(lambda _: None)
    mine = offers(registry, "tools:register")
    entries = await mine.prepare(Description([spec("one")]), LOADING)
    mine.add(spec("two"), LOADING)
    mine.add(spec("three"), LOADING)
    mine.remove("three", LOADING)
    with pytest.raises(UnknownTool):
        mine.remove("three", LOADING)
    assert not list(registry)
    mine.install(entries)
    assert [entry.tool.name for entry in registry] == ["demo.one", "demo.two"]
