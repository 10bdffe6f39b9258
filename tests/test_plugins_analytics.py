"""The plugin analytics: its methods by themselves, and its tools through a host."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plughost import CallContext, Host, HostConfig, InvalidParams, PluginConfig, ToolError
from plughost_sdk import Manifest, PermissionDenied, PluginAPI
from plughost_sdk import ToolError as ToolMistake
from plughost_sdk.link import Handler

from .conftest import trusting

pytestmark = pytest.mark.anyio

PLUGIN = Path(__file__).parent.parent / "plugins" / "analytics"


class _NoLink:
    """A host that grants this plugin nothing to ask for."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        raise AssertionError(function)

    async def request(self, method: str, params: object, timeout: float | None = None) -> Any:
        assert method == "storage.get"
        raise PermissionDenied("not granted", "storage:read")

    def progress(self, done: float, total: float | None, message: str) -> None:
        raise AssertionError(message)

    def run_blocking(self, function: Callable[[], Awaitable[Any]]) -> Any:
        raise AssertionError(function)


def _load() -> Any:
    spec = spec_from_file_location("analytics", PLUGIN / "plugin.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


analytics = _load()


async def _loaded(**config: Any) -> Any:
    plugin = analytics.Analytics()
    manifest = Manifest(id="analytics", name="analytics", version="1.0.0")
    await plugin.on_load(PluginAPI(_NoLink(), manifest, config))
    return plugin


async def test_events_add_up_under_their_names() -> None:
    plugin = await _loaded()

    assert await plugin.track_event("signup") == analytics.Tracked(True, "signup", 1)
    assert await plugin.track_event("signup", 2) == analytics.Tracked(True, "signup", 3)
    assert await plugin.track_event("price", -0.5) == analytics.Tracked(True, "price", -0.5)
    assert await plugin.get_metrics() == {"signup": 3, "price": -0.5}
    assert await plugin.get_metrics("signup") == 3


async def test_a_metric_that_nothing_was_tracked_for_is_0_and_stays_unlisted() -> None:
    plugin = await _loaded()

    assert await plugin.get_metrics("signup") == 0
    assert await plugin.get_metrics() == {}


async def test_an_event_of_value_0_makes_its_metric_and_changes_nothing() -> None:
    plugin = await _loaded()

    assert (await plugin.track_event("signup", 0)).value == 0
    assert await plugin.get_metrics() == {"signup": 0}


async def test_the_answer_does_not_change_when_more_is_tracked() -> None:
    plugin = await _loaded()
    await plugin.track_event("signup")
    before = await plugin.get_metrics()
    await plugin.track_event("signup")

    assert before == {"signup": 1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53 + 1, -1e300])
async def test_a_value_that_cannot_be_counted_with_is_refused_and_changes_nothing(
    value: float,
) -> None:
    plugin = await _loaded()
    await plugin.track_event("signup")

    with pytest.raises(ToolMistake, match="signup would become") as caught:
        await plugin.track_event("signup", value)
    assert caught.value.code == "out_of_range"
    assert await plugin.get_metrics() == {"signup": 1}


async def test_a_total_stops_where_a_step_of_1_would_be_lost() -> None:
    plugin = await _loaded()
    await plugin.track_event("signup", 2.0**53 - 2)

    assert (await plugin.track_event("signup")).value == 2**53 - 1
    with pytest.raises(ToolMistake, match=r"2\*\*53"):
        await plugin.track_event("signup")


async def test_one_metric_too_many_is_refused_while_the_others_go_on() -> None:
    plugin = await _loaded(max_metrics=2)
    await plugin.track_event("one")
    await plugin.track_event("two")

    with pytest.raises(ToolMistake, match="there are 2 metrics already") as caught:
        await plugin.track_event("three")
    assert caught.value.code == "too_many_metrics"
    assert (await plugin.track_event("two")).value == 2


@pytest.mark.parametrize("config", [{"max_metrics": 0}, {"max_metrics": "9"}, {"metrics": 9}])
async def test_a_configuration_that_does_not_fit_fails_the_load(config: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        await _loaded(**config)


async def test_an_unloaded_plugin_has_forgotten_its_metrics() -> None:
    plugin = await _loaded()
    await plugin.track_event("signup")
    await plugin.on_unload()

    assert await plugin.get_metrics() == {}


# Through a host


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    config = trusting(
        state_folder=tmp_path, plugins={"analytics": PluginConfig(config={"max_metrics": 3})}
    )
    async with Host([PLUGIN], config) as host:
        assert not host.problems
        yield host


async def test_a_host_offers_both_tools_under_their_names(host: Host) -> None:
    assert sorted(host.tools) == ["analytics.getMetrics", "analytics.trackEvent"]


async def test_the_answers_have_the_shape_that_callers_know(host: Host) -> None:
    context = CallContext(user_id="u", request_id="r")
    answer = await host.call("analytics.trackEvent", {"event": "signup"}, context=context)

    assert answer == {"success": True, "event": "signup", "value": 1}
    answer = await host.call("analytics.trackEvent", {"event": "signup", "value": 1.5})
    assert answer == {"success": True, "event": "signup", "value": 2.5}
    assert await host.call("analytics.getMetrics") == {"signup": 2.5}
    assert await host.call("analytics.getMetrics", {"metric": "signup"}) == 2.5
    assert await host.call("analytics.getMetrics", {"metric": "other"}) == 0


async def test_many_events_at_once_are_all_counted(host: Host) -> None:
    outcomes = await host.call_many([("analytics.trackEvent", {"event": "signup"})] * 200)

    assert all(outcome.error is None for outcome in outcomes)
    assert await host.call("analytics.getMetrics", {"metric": "signup"}) == 200


async def test_the_operator_sets_how_many_metrics_there_may_be(host: Host) -> None:
    for name in ("one", "two", "three"):
        await host.call("analytics.trackEvent", {"event": name})

    with pytest.raises(ToolError, match="3 metrics already") as caught:
        await host.call("analytics.trackEvent", {"event": "four"})
    assert caught.value.code == "too_many_metrics"


@pytest.mark.parametrize(
    "params",
    [{}, {"event": ""}, {"event": "a" * 201}, {"event": "a", "value": "1"}]
    + [{"event": "a", "value": value} for value in (math.nan, math.inf)],
)
async def test_an_event_that_does_not_fit_reaches_no_worker(
    host: Host, params: dict[str, Any]
) -> None:
    with pytest.raises(InvalidParams):
        await host.call("analytics.trackEvent", params)


async def test_metrics_are_kept_over_a_reload_and_with_the_next_host(
    host: Host, tmp_path: Path
) -> None:
    await host.call("analytics.trackEvent", {"event": "signup"})
    plugin = host.plugin("analytics")
    await plugin.stop()
    await plugin.start()

    await host.call("analytics.trackEvent", {"event": "signup", "value": 0.5})
    await plugin.stop()

    async with Host([PLUGIN], trusting(state_folder=tmp_path)) as other:
        assert await other.call("analytics.getMetrics") == {"signup": 1.5}


async def test_without_storage_metrics_are_counted_and_forgotten(tmp_path: Path) -> None:
    config = HostConfig(grants={"analytics": ["tools:register"]}, state_folder=tmp_path)
    async with Host([PLUGIN], config) as host:
        await host.call("analytics.trackEvent", {"event": "signup"})
        assert await host.call("analytics.getMetrics") == {"signup": 1}
        plugin = host.plugin("analytics")
        await plugin.stop()
        await plugin.start()
        assert await host.call("analytics.getMetrics") == {}
    assert not (tmp_path / "storage.db").exists()
