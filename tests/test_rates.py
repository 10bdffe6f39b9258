"""How often a plugin may ask the host, and what follows where it asks more often."""

import anyio
import pytest

from plughost import CallContext, Host, HostMisuse, PluginConfig, RateLimited, Rates, ToolError
from plughost.policy.rates import RateLimiter

from .conftest import MakePlugin, trusting


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_may_come_at_once_and_the_rest_waits_its_turn() -> None:
    clock = Clock()
    limiter = RateLimiter("demo", Rates(operations=60), clock)
    for _ in range(60):
        limiter.take("storage")
    with pytest.raises(RateLimited, match=r"'storage' too often: try again in 1 s") as refusal:
        limiter.take("storage")
    assert refusal.value.retry_after == 1
    assert limiter.refused == 1
    clock.now += refusal.value.retry_after
    limiter.take("storage")
    with pytest.raises(RateLimited):
        limiter.take("storage")


def test_services_without_a_bucket_of_their_own_share_one() -> None:
    limiter = RateLimiter("demo", Rates(operations=2, services={"storage": 3}), Clock())
    limiter.take("http")
    limiter.take("scheduler")
    with pytest.raises(RateLimited):
        limiter.take("memory")
    for _ in range(3):
        limiter.take("storage")
    with pytest.raises(RateLimited):
        limiter.take("storage")


def test_a_service_may_be_without_a_limit() -> None:
    limiter = RateLimiter("demo", Rates(operations=1, services={"tools": None}), Clock())
    for _ in range(10_000):
        limiter.take("tools")


def test_the_other_buckets_stay_where_one_is_changed() -> None:
    assert Rates(services={"storage": 1}).services == {
        "events": 600,
        "services": 6000,
        "tools": 6000,
        "storage": 1,
    }


@pytest.mark.parametrize(
    "settings", [{"operations": 0}, {"services": {"http": -1}}], ids=["operations", "http"]
)
def test_a_rate_of_nothing_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(HostMisuse, match="must be more than 0 a minute"):
        Rates(**settings)  # type: ignore[arg-type]  # as a mistaken operator would


ASKER = """
    from plughost_sdk import Plugin, RateLimited

    plugin = Plugin()

    @plugin.tool
    async def ask(times: int) -> list[float]:
        waits = []
        for _ in range(times):
            try:
                await plugin.api.call("answer.answer")
            except RateLimited as exc:
                waits.append(exc.retry_after)
        return waits

    @plugin.tool
    async def let_it_through() -> None:
        while True:
            await plugin.api.call("answer.answer")
"""
ANSWERER = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.tool
    async def answer() -> int:
        return 42
"""


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_plugin_learns_how_long_to_wait(make_plugin: MakePlugin) -> None:
    make_plugin("answer", ANSWERER)
    folder = make_plugin("ask", ASKER, permissions=["tools:register", "tools:execute"])
    config = trusting(plugins={"ask": PluginConfig(rates=Rates(services={"tools": 6}))})
    async with Host([folder], config) as host:
        waits = await host.call("ask.ask", {"times": 10})
        assert len(waits) == 4
        assert all(9 < wait <= 10 for wait in waits)
        with pytest.raises(ToolError) as refusal:
            await host.call("ask.let_it_through")
        assert refusal.value.code == "rate_limited"
        assert await host.call("answer.answer") == 42


@pytest.mark.anyio
async def test_a_plugin_that_asks_without_end_leaves_the_others_their_host(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("answer", ANSWERER)
    folder = make_plugin(
        "flood",
        """
        import asyncio

        from plughost_sdk import HostError, Plugin

        plugin = Plugin()

        @plugin.tool
        async def flood() -> None:
            async def ask() -> None:
                while True:
                    try:
                        await plugin.api.call("answer.answer")
                    except HostError:
                        pass
            await asyncio.gather(*(ask() for _ in range(32)))
        """,
        permissions=["tools:register", "tools:execute"],
    )
    config = trusting(plugins={"flood": PluginConfig(rates=Rates(services={"tools": 6}))})
    async with Host([folder], config) as host, anyio.create_task_group() as tasks:
        tasks.start_soon(host.call, "flood.flood")
        while host.plugin("flood").rates.refused < 300:
            assert await host.call("answer.answer", context=CallContext(timeout=5)) == 42
        tasks.cancel_scope.cancel()
