"""How well plugins do: what the host sees, and what they say themselves."""

from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from plughost import Health, HealthConfig, HealthStatus, Host, Limits, PlughostError, PluginConfig

from .conftest import MakePlugin, trusting

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

SAYS = """
    import asyncio, time
    from plughost_sdk import Plugin

    plugin = Plugin()
    answer = None

    @plugin.health
    async def how_is_it():
        if answer == "hang":
            await asyncio.sleep(60)
        if answer == "fail":
            raise ValueError("the database is gone")
        return answer

    @plugin.tool
    def say(what: dict) -> None:
        global answer
        answer = what["what"]

    @plugin.tool
    def work(well: bool) -> None:
        if not well:
            raise ValueError("not well")
"""


async def one(host: Host) -> Health:
    [health] = (await host.health("demo")).values()
    return health


@pytest.mark.parametrize(
    ("says", "status", "reasons"),
    [
        (None, "healthy", []),
        ("ok", "healthy", []),
        ("degraded: the queue is long", "degraded", ["the queue is long"]),
        ("unhealthy", "unhealthy", ["it says that it is unhealthy"]),
        ({"status": "healthy", "queue": 3}, "healthy", []),
        ({"status": "unhealthy", "reasons": ["a", "b"], "queue": 9}, "unhealthy", ["a", "b"]),
        (
            "fail",
            "unhealthy",
            ["its own check failed: ValueError: the database is gone (plugin.py, line 13)"],
        ),
        ("hang", "unhealthy", ["its own check did not answer within 200 ms"]),
        ("purple", "degraded", ["its own check answers 'purple', which is no status"]),
        ({"status": ["\x1b[31m"]}, "degraded", None),
        (17, "healthy", []),
    ],
)
async def test_what_a_plugin_says_of_itself_counts(
    make_plugin: MakePlugin, says: Any, status: str, reasons: list[str] | None
) -> None:
    folder = make_plugin("demo", SAYS)
    async with Host([folder], trusting(health=HealthConfig(timeout=0.2))) as host:
        await host.call("demo.say", {"what": {"what": says}})
        health = await one(host)
        assert health.status == status
        if reasons is not None:
            assert health.reasons == reasons
        assert "\x1b" not in "".join(health.reasons)
        queue = says.get("queue") if isinstance(says, dict) else None
        assert health.details.get("queue") == queue


async def test_calls_that_fail_are_a_reason_and_wrong_parameters_are_none(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("demo", SAYS)
    async with Host([folder], trusting()) as host:

        async def work(params: dict[str, Any], times: int) -> None:
            for _ in range(times):
                with suppress(PlughostError):
                    await host.call("demo.work", params)

        await work({"well": True}, 30)
        await work({"bad": True}, 30)
        assert (await one(host)).status is HealthStatus.HEALTHY
        await work({"well": False}, 6)
        health = await one(host)
        assert (health.status, health.reasons) == (
            HealthStatus.DEGRADED,
            ["6 of its last 66 calls failed (9%)"],
        )
        await work({"well": False}, 60)
        assert (await one(host)).status is HealthStatus.UNHEALTHY


async def test_memory_near_its_limit_is_a_reason(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "demo",
        """
        from plughost_sdk import Plugin

        class Demo(Plugin):
            async def health(self):
                return {"status": "healthy", "mine": True}

        plugin = Demo()
        """,
    )
    limits = {"demo": PluginConfig(limits=Limits(memory=64_000_000))}
    config = trusting(plugins=limits, health=HealthConfig(memory_share=0.01))
    async with Host([folder], config) as host:
        while not host.usage("demo").memory:
            await anyio.lowlevel.checkpoint()  # until the watch has looked
        health = await one(host)
        assert health.status is HealthStatus.DEGRADED
        assert "of 64" in health.reasons[0]
        assert health.details == {"mine": True}


async def test_a_plugin_without_a_check_is_judged_by_its_state(make_plugin: MakePlugin) -> None:
    make_plugin("broken", "raise ValueError('no')")
    make_plugin(
        "named",
        """
        from plughost_sdk import Plugin, tool

        class Named(Plugin):
            @tool
            async def health(self, city: str) -> str:
                return "the air is good in " + city

        plugin = Named()
        """,
    )
    folder = make_plugin("demo", "from plughost_sdk import Plugin\nplugin = Plugin()")
    async with Host([folder], trusting()) as host:
        await host.disable("demo")
        found = await host.health()
        assert {p: h.status.value for p, h in found.items()} == {
            "broken": "unhealthy",
            "demo": "off",
            "named": "healthy",
        }
        assert "it is error: " in found["broken"].reasons[0]
        assert "the air is good" in await host.call("named.health", {"city": "Oslo"})
