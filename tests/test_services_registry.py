"""Which service is whose from load to load, with plugins that have no process."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from plughost import Limits, NotRunning, PlughostError, UnknownService
from plughost.catalog.discovery import Found
from plughost.catalog.manifest import Manifest
from plughost.exchange.entry import CompileBudget, OfferRefused
from plughost.exchange.services import ServiceRegistry
from plughost.exits import WorkerExit
from plughost.rpc.standing import Standing
from plughost.rpc.worker import Worker
from plughost_protocol.services import MethodSpec, ProvideService

pytestmark = pytest.mark.anyio


class Plugin:
    """A plugin that does not run."""

    limits = Limits()
    timeout = 30.0
    active_worker = None

    def __init__(
        self, plugin_id: str, *, services: list[str] | None = None, step: float = 0.0
    ) -> None:
        self.id = plugin_id
        self.found = Found(
            Path(plugin_id),
            Manifest(id=plugin_id, name=plugin_id, version="1.0.0", services=services or []),
        )
        self.budget = CompileBudget(_ticking(step), _ticking(step))

    async def wait_for_worker(self, timeout: float) -> Worker:
        raise NotRunning(self.id, "unloaded")

    def count(self, error: PlughostError | None) -> None: ...


def _ticking(step: float) -> Callable[[], float]:
    now = 0.0

    def read() -> float:
        nonlocal now
        now += step
        return now

    return read


def worker(plugin_id: str, exit: WorkerExit | None = None) -> Worker:
    """One that is being loaded."""
    facts = {"limits": Limits(), "timeout": 30.0, "standing": Standing.LOADING}
    return cast("Worker", SimpleNamespace(plugin_id=plugin_id, exit=exit, **facts))


def offer(name: str, *methods: str, **options: Any) -> ProvideService:
    specs = [
        MethodSpec(name=method, input_schema={"type": "object"}, **options)
        for method in methods or ("get",)
    ]
    return ProvideService(name=name, methods=specs)


def registry(*plugins: Plugin) -> ServiceRegistry:
    return ServiceRegistry({plugin.id: plugin for plugin in plugins})


async def test_what_loads_is_there_once_it_is_active() -> None:
    services = registry(Plugin("one"))
    services.on_loading("one")
    await services.provide(worker("one"), offer("cache"))
    assert services.find("cache") is None
    services.on_active("one")
    assert [service.name for service in services] == ["cache"]


async def test_the_next_worker_replaces_what_was_there_and_until_then_it_stays() -> None:
    services = registry(Plugin("one"))
    services.on_loading("one")
    await services.provide(worker("one"), offer("cache", "get"))
    await services.provide(worker("one"), offer("other"))
    services.on_active("one")

    services.on_loading("one")
    await services.provide(worker("one"), offer("cache", "get", "set"))
    found = services.find("cache")
    assert found is not None
    assert list(found.entries) == ["get"]
    assert services.find("other") is not None
    services.on_active("one")
    found = services.find("cache")
    assert found is not None
    assert list(found.entries) == ["get", "set"]
    assert services.find("other") is None
    with pytest.raises(UnknownService):
        services.plugin_of("other")


async def test_a_load_that_fails_leaves_nothing_behind() -> None:
    services = registry(Plugin("one"), Plugin("two"))
    services.on_loading("one")
    await services.provide(worker("one"), offer("cache"))
    with pytest.raises(OfferRefused, match="taken by plugin 'one'"):
        await services.provide(worker("two"), offer("cache"))
    services.on_loading("one")  # its worker died, and the next one loads
    services.on_loading("two")
    await services.provide(worker("two"), offer("cache"))
    services.on_unloaded("one")
    services.on_active("two")
    assert services.plugin_of("cache").id == "two"


async def test_one_that_is_enabled_again_keeps_what_it_provides() -> None:
    services = registry(Plugin("one"))
    await services.provide(worker("one"), offer("cache"))
    services.on_active("one")
    assert services.find("cache") is not None


async def test_whose_a_service_was_is_known_until_another_takes_its_name() -> None:
    services = registry(Plugin("one"), Plugin("two"), Plugin("three", services=["declared"]))
    await services.provide(worker("one"), offer("cache"))
    services.on_unloaded("one")
    assert services.find("cache") is None
    assert services.plugin_of("cache").id == "one"
    assert services.plugin_of("declared").id == "three"
    await services.provide(worker("two"), offer("cache"))
    assert services.plugin_of("cache").id == "two"
    services.withdraw(worker("two"), "cache")
    with pytest.raises(UnknownService):
        services.plugin_of("cache")


async def test_what_a_worker_asked_for_before_it_died_is_not_its_successors() -> None:
    services = registry(Plugin("one"))
    services.on_loading("one")
    await services.provide(worker("one", cast("WorkerExit", object())), offer("cache"))
    services.on_active("one")
    assert not list(services)


async def test_nobody_withdraws_what_another_provides() -> None:
    services = registry(Plugin("one"), Plugin("two"))
    await services.provide(worker("one"), offer("cache"))
    with pytest.raises(UnknownService):
        services.withdraw(worker("two"), "cache")


async def test_schemas_that_take_too_long_to_compile_are_refused() -> None:
    services = registry(Plugin("one", step=0.5))
    with pytest.raises(OfferRefused, match="take too long to compile"):
        await services.provide(worker("one"), offer("cache", *(f"m{n}" for n in range(20))))
    assert not list(services)
