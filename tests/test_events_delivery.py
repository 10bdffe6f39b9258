"""What becomes of events whose subscriber is slow, stuck, dead or gone."""

from typing import Any

import anyio
import pytest

from plughost import Event, EventRefused, EventsConfig, Host, Limits

from .conftest import MakePlugin, trusting
from .event_plugins import ALL, BOTH, UNLIMITED, eventually, take, until

pytestmark = pytest.mark.anyio

STUCK = """
    import asyncio
    from plughost_sdk import Plugin

    plugin = Plugin()
    free = asyncio.Event()
    seen = []

    @plugin.on("work")
    async def work(event):
        seen.append([event.data, event.lost])
        await plugin.api.events.emit("began", event.data)
        await free.wait()
        await plugin.api.events.emit("ended", event.data)

    @plugin.on("free")
    async def let_go(event):
        free.set()

    @plugin.tool
    async def noted() -> list:
        return seen
"""

QUICK = """
    from plughost_sdk import Plugin
    plugin = Plugin()

    @plugin.on("work")
    async def work(event):
        await plugin.api.events.emit("done", event.data)
"""


@BOTH
async def test_a_stuck_subscriber_costs_the_emitter_and_the_others_nothing(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("stuck", STUCK, permissions=ALL)
    folder = make_plugin("quick", QUICK, permissions=ALL)
    async with (
        Host([folder], trusting(rates=UNLIMITED)) as host,
        host.events.subscribe("done") as done,
        host.events.subscribe("began") as began,
    ):
        await host.emit("work", -1)
        await take(began, 1)
        for n in range(200):  # each returns, though the first is never handled
            await host.emit("work", n)
        assert [event.data for event in await take(done, 201)] == list(range(-1, 200))
        assert host.events.stats()["stuck"].waiting == 200
        assert host.events.stats()["stuck"].delivered == 0
        # Another subscription of the same plugin is not stuck.
        await host.emit("free")
        assert [event.data for event in await take(began, 200)] == list(range(200))


@BOTH
async def test_a_slow_subscriber_loses_its_own_oldest_events_and_is_told(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("stuck", STUCK, permissions=ALL)
    folder = make_plugin("quick", QUICK, permissions=ALL)
    config = trusting(rates=UNLIMITED, events=EventsConfig(queue=10))
    async with (
        Host([folder], config) as host,
        host.events.subscribe("done", buffer=1000) as done,
        host.events.subscribe("began", buffer=1000) as began,
        host.events.subscribe("ended", buffer=1000) as ended,
    ):
        await host.emit("work", 0)
        await take(began, 1)
        for n in range(1, 31):
            await host.emit("work", n)
            await take(done, 1)
        assert host.events.stats()["stuck"].lost == 20
        assert host.events.stats()["quick"].lost == 0
        await host.emit("free")
        kept = [event.data for event in await take(ended, 10)]
        assert kept[0] == 0
        assert kept[1:] == list(range(22, 31)) or kept[1:] == list(range(21, 30))
        noted = await host.call("stuck.noted")
        assert noted[0] == [0, 0]
        assert noted[1][1] in (20, 21)
        assert all(lost == 0 for _, lost in noted[2:])
        log = [entry.message for entry in host.plugin("stuck").log.entries]
        assert len([line for line in log if "events for work are lost" in line]) == 1
        outcomes = [
            delivery.outcome
            for tree in host.events.trace(limit=1000)
            for delivery in tree.deliveries
            if delivery.receiver == "stuck"
        ]
        assert outcomes.count("lost") >= 20


@BOTH
async def test_a_restart_in_the_middle_loses_nothing_and_keeps_the_order(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "mortal",
        """
        import os
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("work.*")
        async def work(event):
            if event.data == 20 and not event.redelivered:
                os._exit(1)
            await plugin.api.events.emit("done", [event.data, event.redelivered])
        """,
        permissions=ALL,
    )
    async with (
        Host([folder], trusting(rates=UNLIMITED)) as host,
        host.events.subscribe("done") as done,
    ):
        for n in range(60):
            await host.emit("work.here", n)
        found = [event.data for event in await take(done, 60)]
        assert found == [[n, n == 20] for n in range(60)]
        assert host.plugin("mortal").restarts == 1
        assert host.events.stats()["mortal"].lost == 0


@BOTH
async def test_an_event_that_kills_its_worker_twice_is_lost_and_the_next_is_not(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "mortal",
        """
        import os
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("work")
        async def work(event):
            if event.data == "poison":
                os._exit(1)
            await plugin.api.events.emit("done", [event.data, event.lost])
        """,
        permissions=ALL,
    )
    async with Host([folder], trusting()) as host, host.events.subscribe("done") as done:
        await host.emit("work", "poison")
        await host.emit("work", "bread")
        (event,) = await take(done, 1)
        assert event.data[0] == "bread"
        assert host.plugin("mortal").restarts == 2
        assert host.events.stats()["mortal"].lost == 1


async def test_an_event_that_comes_while_the_plugin_loads_again_is_not_lost_or_doubled(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "slow",
        """
        import os
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("die")
        async def die(event):
            if not event.redelivered:
                os._exit(1)

        class Early:
            pass

        async def work(event):
            await plugin.api.events.emit("done", event.data)

        async def on_load(api):
            await api.events.on("work", work)
            await api.events.emit("loading")
            await api.events.request("go.on", timeout=20)

        plugin.on_load = on_load
        """,
        permissions=ALL,
    )
    host = Host([folder], trusting())
    loading = host.events.subscribe("loading")
    gate = host.events.subscribe("go.on")

    async def let_it_load() -> None:
        (question,) = await take(gate, 1)
        assert host.events.reply(question)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(let_it_load)
        async with host:
            await take(loading, 1)
            done = host.events.subscribe("done")
            await host.emit("die")
            await host.emit("work", 1)
            await take(loading, 1)  # the new worker has its subscription, the old one lives still
            await host.emit("work", 2)
            await let_it_load()
            await host.emit("work", 3)
            await host.emit("work", 4)
            found = [event.data for event in await take(done, 4)]
            await host.plugin("slow").stop()
    rest = [event.data async for event in done]
    assert (found, rest) == ([1, 2, 3, 4], [])


async def test_an_unloaded_plugin_leaves_nothing_and_starts_anew(make_plugin: MakePlugin) -> None:
    folder = make_plugin("stuck", STUCK, permissions=ALL)
    async with (
        Host([folder], trusting()) as host,
        host.events.subscribe("began") as began,
    ):
        for n in range(5):
            await host.emit("work", n)
        await take(began, 1)
        await host.plugin("stuck").stop()
        assert host.events.stats()["stuck"].waiting == 0
        await host.emit("work", "nobody is there")
        await host.plugin("stuck").start()
        await host.emit("work", "new")
        assert [event.data for event in await take(began, 1)] == ["new"]


async def test_a_disabled_plugin_gets_its_events_when_it_is_enabled(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("quick", QUICK, permissions=ALL)
    async with Host([folder], trusting()) as host, host.events.subscribe("*") as events:
        await host.plugin("quick").disable()
        for n in range(3):
            await host.emit("work", n)
        await host.plugin("quick").enable()
        await until(events, lambda event: event.name == "plugin:enabled")
        done = [await until(events, lambda event: event.name == "done") for _ in range(3)]
        assert [event.data for event in done] == [0, 1, 2]


async def test_a_handler_that_raises_is_logged_and_stops_no_other(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "bad",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("work")
        async def raises(event):
            raise LookupError(f"no {event.data}")

        @plugin.on("work")
        def leaves(event):
            raise SystemExit(3)

        @plugin.on("work")
        async def works(event):
            await plugin.api.events.emit("done", event.data)
        """,
        permissions=ALL,
    )
    async with Host([folder], trusting()) as host, host.events.subscribe("done") as done:
        for n in range(3):
            await host.emit("work", n)
        assert [event.data for event in await take(done, 3)] == [0, 1, 2]
        await eventually(lambda: host.events.stats()["bad"].failed == 6)
        log = "\n".join(entry.message for entry in host.plugin("bad").log.entries)
        assert "a handler of work failed: bad.on(work): LookupError: no 2 (plugin.py" in log
        assert "SystemExit" in log
        assert 'raise LookupError(f"no {event.data}")' in log  # its traceback
        assert host.plugin("bad").restarts == 0


@pytest.mark.parametrize("kind", ["async def hang", "def hang"])
async def test_a_handler_that_hangs_ends_at_its_deadline(
    make_plugin: MakePlugin, kind: str
) -> None:
    pause = "await asyncio.sleep(600)" if "async" in kind else "time.sleep(600)"
    folder = make_plugin(
        "hangs",
        f"""
        import asyncio, time
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("work")
        {kind}(event):
            if event.data == "hang":
                {pause}
            plugin.api.logger.info("worked on %s", event.data)

        @plugin.on("work")
        async def other(event):
            await plugin.api.events.emit("done", event.data)
        """,
        permissions=ALL,
    )
    config = trusting(limits=Limits(call_timeout=0.3, grace=0.3))
    async with Host([folder], config) as host, host.events.subscribe("done") as done:
        await host.emit("work", "hang")
        await host.emit("work", "on")
        assert {event.data for event in await take(done, 2)} == {"hang", "on"}
        log = host.plugin("hangs").log
        await eventually(lambda: any("worked on on" in entry.message for entry in log.entries))
        assert host.events.stats()["hangs"].failed == 1
        assert "did not answer within 300 ms" in str(
            [entry.message for entry in host.plugin("hangs").log.entries]
        )


@BOTH
async def test_throttle_and_debounce_hold_per_subscription(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "paced",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("tick", throttle=600)
        async def first(event):
            await plugin.api.events.emit("throttled", event.data)

        @plugin.on("tick", debounce=600, max_wait=0.2)
        async def last(event):
            await plugin.api.events.emit("debounced", event.data)

        @plugin.on("tick", debounce=600)
        async def never(event):
            await plugin.api.events.emit("too.soon", event.data)

        @plugin.on("tick")
        async def all_of_them(event):
            await plugin.api.events.emit("each", event.data)
        """,
        permissions=ALL,
    )
    async with (
        Host([folder], trusting(rates=UNLIMITED)) as host,
        host.events.subscribe("*") as events,
    ):
        for n in range(20):
            await host.emit("tick", n)
        found: dict[str, list[Any]] = {"throttled": [], "debounced": [], "each": []}
        while sum(map(len, found.values())) < 22:
            event = await until(events, lambda event: event.source == "paced")
            found[event.name].append(event.data)
        assert found == {"throttled": [0], "debounced": [19], "each": list(range(20))}
        assert host.events.stats()["paced"].passed_over == 19 * 3
        assert host.events.stats()["paced"].waiting == 1


async def test_many_plugins_get_one_event_each_once(make_plugin: MakePlugin) -> None:
    for n in range(6):
        folder = make_plugin(f"quick-{n}", QUICK, permissions=ALL)
    async with Host([folder], trusting()) as host, host.events.subscribe("done") as done:
        await host.emit("work", "here")
        sources = {event.source for event in await take(done, 6)}
        assert sources == {f"quick-{n}" for n in range(6)}
        tree = next(tree for tree in host.events.trace() if tree.name == "work")
        assert len(tree.deliveries) == len(tree.caused) == 6
        for delivery in tree.deliveries:
            assert delivery.started is not None
            assert delivery.queued <= delivery.started


class Gate:
    """Hooks that add to, stop and refuse events by their names."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def pass_event(self, event: Event) -> Event | None:
        await anyio.lowlevel.checkpoint()
        match event.name:
            case "stop.me":
                return None
            case "refuse.me":
                raise EventRefused(event.name, "no such session")
            case "change.me":
                return event.with_data({"was": event.data})
            case _:
                return event

    async def handled(self, event: Event) -> None:
        self.told.append(event.name)

    def missed(self, event: Event) -> None:
        raise AssertionError(event)


@BOTH
async def test_hooks_see_every_event_before_its_subscribers(make_plugin: MakePlugin) -> None:
    folder = make_plugin("quick", QUICK, permissions=ALL)
    gate = Gate()
    host = Host([folder], trusting())
    host._bus.hooks = gate
    async with host, host.events.subscribe("*") as events:
        assert await host.emit("stop.me") is None
        with pytest.raises(EventRefused, match="no such session"):
            await host.emit("refuse.me")
        await host.emit("change.me", 1)
        await host.emit("work", 2)
        changed = await until(events, lambda event: event.name == "change.me")
        assert changed.data == {"was": 1}
        await until(events, lambda event: event.name == "done")
        stopped = {tree.name: tree.stopped for tree in host.events.trace()}
        assert stopped["stop.me"] == "stopped by a hook"
        assert stopped["refuse.me"] == "refused: no such session"
    assert {"plugin:loaded", "system:startup", "change.me", "work", "done"} <= set(gate.told)
    assert not {"stop.me", "refuse.me"} & set(gate.told)


async def test_a_worker_that_sends_no_events_but_bytes_harms_nobody(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "rude",
        """
        from plughost_sdk import HostError, Plugin
        plugin = Plugin()

        ODD = [
            ("events.emit", {}),
            ("events.emit", {"name": 7}),
            ("events.emit", {"name": "a", "data": 1, "source": "host"}),
            ("events.emit", {"name": "a" * 1_000_000}),
            ("events.emit", {"name": "a", "data": {(1, 2): 3}, "correlation_id": "x" * 1000}),
            ("events.subscribe", {"id": 0, "pattern": "a"}),
            ("events.subscribe", {"id": 2**40, "pattern": "a"}),
            ("events.subscribe", {"id": 1, "pattern": "a", "throttle": -1.0}),
            ("events.subscribe", {"id": 1, "pattern": "a", "throttle": float("nan")}),
            ("events.subscribe", {"id": 1, "pattern": "a", "throttle": 1.0, "debounce": 1.0}),
            ("events.subscribe", {"id": 1, "pattern": "*" * 200}),
            ("events.reply", {"event": ""}),
            ("events.history", {"pattern": "a", "limit": 10**9}),
            ("events.request", {"name": "a", "timeout": 1e12}),
        ]

        @plugin.tool
        async def be_rude() -> list:
            codes = []
            for method, params in ODD:
                try:
                    await plugin.api._link.request(method, params)
                    codes.append(f"{method} {str(params)[:60]} was taken")
                except HostError as exc:
                    codes.append(exc.code)
            return codes

        @plugin.tool
        async def unsubscribe_others() -> None:
            for number in range(1, 50):
                await plugin.api._link.request("events.unsubscribe", {"id": number})
        """,
        permissions=ALL,
    )
    make_plugin("quick", QUICK, permissions=ALL)
    async with Host([folder], trusting()) as host, host.events.subscribe("done") as done:
        assert await host.call("rude.be_rude") == ["invalid_params"] * 14
        await host.call("rude.unsubscribe_others")
        await host.emit("work", 1)
        await take(done, 1)
        assert host.plugin("rude").restarts == 0
