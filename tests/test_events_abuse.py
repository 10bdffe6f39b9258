"""Hostile plugins and careless applications on the bus: loops, leaks, kills, forged causes."""

import gc
import os
import signal
from typing import Any

import anyio
import pytest

from plughost import CallContext, Event, EventsConfig, HooksConfig, Host

from .conftest import MakePlugin, trusting
from .event_plugins import ALL, BOTH, DESK, UNLIMITED, eventually, take

pytestmark = pytest.mark.anyio

COUNT = """
    import os
    from plughost_sdk import Plugin
    plugin = Plugin()

    @plugin.on("work")
    async def work(event):
        await plugin.api.events.emit("done", [event.data, event.redelivered, event.lost])
"""


def settled(host: Host, plugin_id: str) -> bool:
    subscriber = host._bus.subscriber(plugin_id)
    starts = host.plugin(plugin_id).state in ("loading", "restarting")
    return not starts and subscriber.is_idle


# Loops between the application and plugins


@BOTH
async def test_a_callback_that_emits_what_it_hears_is_cut(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "echo",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("ask")
        async def answer(event):
            await plugin.api.events.emit("answer", event.data + 1)
        """,
        permissions=ALL,
    )
    host = Host([folder], trusting(events=EventsConfig(max_hops=6), rates=UNLIMITED))

    async def again(event: Event) -> None:
        await host.emit("ask", event.data + 1)

    async with host:
        host.events.on("answer", again)
        await host.emit("ask", 0)
        await eventually(lambda: host._bus.cut == 1)
        heard = host.events.history("ask") + host.events.history("answer")
        assert sorted(event.data for event in heard) == list(range(7))
        assert {event.parent == "" for event in heard if event.data} == {False}
        await host.emit("ask", 100)  # what it does outside of a callback begins anew
        assert host.events.history("ask")[-1].parent == ""


@BOTH
async def test_a_callback_that_calls_a_tool_that_emits_what_it_hears_is_cut(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    host = Host([folder], trusting(events=EventsConfig(max_hops=5), rates=UNLIMITED))

    async def again(_: Event) -> None:
        await host.call("desk.emit", {"name": "tick"})

    async with host:
        host.events.on("tick", again)
        await host.emit("tick")
        await eventually(lambda: host._bus.cut == 1)
        assert len(host.events.history("tick")) == 6


async def test_a_callback_for_tool_calls_that_calls_a_tool_is_cut(make_plugin: MakePlugin) -> None:
    folder = make_plugin("desk", DESK, permissions=ALL)
    host = Host([folder], trusting(events=EventsConfig(max_hops=5)))

    async def again(_: Event) -> None:
        await host.call("desk.noted", context=CallContext(user_id="ada"))

    async with host:
        host.events.on("tool:before_execute", again)
        await host.call("desk.noted")
        await eventually(lambda: host._bus.cut == 1)
        assert len(host.events.history("tool:before_execute")) == 6


@BOTH
async def test_a_hook_of_the_application_that_emits_is_one_hop_of_the_event(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "echo",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("ask")
        async def answer(event):
            await plugin.api.events.emit("answer")
        """,
        permissions=ALL,
    )
    host = Host([folder], trusting(events=EventsConfig(max_hops=6), rates=UNLIMITED))

    async def again(event: Event) -> None:
        await host.emit("ask")

    host.hooks.register("handle_event", again, only="answer")
    async with host:
        await host.emit("ask")
        await eventually(lambda: host._bus.cut == 1)
        assert len(host.events.history("ask") + host.events.history("answer")) == 7


# Memory


@BOTH
async def test_who_is_cancelled_in_front_of_a_stream_loses_no_event(
    anyio_backend: str,
) -> None:
    async with Host([], trusting()) as host, host.events.subscribe("work") as work:
        await host.emit("work", 1)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(work)
        assert scope.cancelled_caught
        assert [event.data for event in await take(work, 1)] == [1]


@BOTH
async def test_two_tasks_that_read_one_stream_share_its_events(anyio_backend: str) -> None:
    async with Host([], trusting()) as host:
        heard: list[Any] = []
        work = host.events.subscribe("work")

        async def read() -> None:
            heard.extend([event.data async for event in work])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            for n in range(10):
                await host.emit("work", n)
            work.close()
        assert sorted(heard) == list(range(10))


async def test_an_iterator_that_is_left_without_being_closed_holds_no_events() -> None:
    async with Host([], trusting()) as host:
        before = len(host._bus.index)
        for n in range(20):
            stream = host.events.subscribe("work")
            await host.emit("work", n)
            async for _ in stream:
                break
        del stream
        gc.collect()
        await host.emit("work")
        assert len(host._bus.index) == before


async def test_what_waits_for_quiet_is_bounded_in_bytes(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "holds",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        async def hold(event):
            await plugin.api.events.emit("done", event.name)

        async def on_load(api):
            for n in range(20):
                await api.events.on(f"big.n{n}", hold, debounce=3600.0)

        plugin.on_load = on_load
        """,
        permissions=ALL,
    )
    config = trusting(events=EventsConfig(queue_bytes=55_000), rates=UNLIMITED)
    async with Host([folder], config) as host, host.events.subscribe("done") as done:
        for n in range(20):
            await host.emit(f"big.n{n}", b"x" * 9_000)
        early = [event.data for event in await take(done, 15)]
        assert early == [f"big.n{n}" for n in range(15)]
        assert host.events.stats()["holds"].waiting == 5
        await host.plugin("holds").stop()
        assert host._bus.subscriber("holds")._held_bytes == 0


async def test_events_that_come_faster_than_hooks_handle_them_are_counted() -> None:
    began, go_on = anyio.Event(), anyio.Event()

    async def slow(_: Event) -> None:
        began.set()
        await go_on.wait()

    host = Host(
        [], trusting(events=EventsConfig(queue=10), hooks=HooksConfig(timeout=60, total=60))
    )
    host.hooks.register("handle_event", slow, only="work", timeout=60)
    async with host:
        await host.emit("work")
        await began.wait()
        for _ in range(25):
            await host.emit("work")
        go_on.set()
        stats = host.hooks.stats()["(app)"]["handle_event"]
        await eventually(lambda: stats.runs == 11)
        assert stats.missed == 15


# Workers that are killed


@BOTH
async def test_every_event_is_accounted_for_while_its_subscriber_is_killed_in_a_loop(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("mortal", COUNT, permissions=ALL)
    config = trusting(events=EventsConfig(queue=30), rates=UNLIMITED)
    async with (
        Host([folder], config) as host,
        host.events.subscribe("done", buffer=10_000) as done,
    ):
        emitted = 0
        kills: list[int] = []
        for _ in range(4):
            for _ in range(40):
                await host.emit("work", emitted)
                emitted += 1
            pid = host.plugin("mortal").pid
            assert pid is not None
            await take(done, 1)
            os.kill(pid, signal.SIGKILL)
            for _ in range(40):
                await host.emit("work", emitted)
                emitted += 1
            kills.append(pid)
            await eventually(lambda: host.plugin("mortal").restarts == len(kills))
            await eventually(lambda: settled(host, "mortal"))
        stats = host.events.stats()["mortal"]
        assert stats.lost > 0
        assert (stats.failed, stats.waiting) == (0, 0)
        assert stats.delivered + stats.lost == emitted
        await host.plugin("mortal").stop()
    rest = [event.data async for event in done]
    numbers = [number for number, _, _ in rest]
    assert numbers == sorted(numbers)


@BOTH
async def test_a_new_worker_is_told_what_was_lost_before_it(make_plugin: MakePlugin) -> None:
    folder = make_plugin("mortal", COUNT, permissions=ALL)
    config = trusting(events=EventsConfig(queue=5), rates=UNLIMITED)
    async with Host([folder], config) as host, host.events.subscribe("done") as done:
        pid = host.plugin("mortal").pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: host.plugin("mortal").active_worker is None)
        for n in range(12):
            await host.emit("work", n)
        found = [event.data for event in await take(done, 5)]
        assert found == [[7, False, 7], *([n, False, 0] for n in range(8, 12))]


@BOTH
async def test_once_is_one_event_even_where_its_worker_dies_with_it(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "mortal",
        """
        import os
        from plughost_sdk import Plugin
        plugin = Plugin()

        async def work(event):
            if not event.redelivered:
                os._exit(1)
            await plugin.api.events.emit("done", [event.data, event.redelivered])

        async def on_load(api):
            await api.events.once("work", work)

        plugin.on_load = on_load
        """,
        permissions=ALL,
    )
    async with Host([folder], trusting()) as host, host.events.subscribe("done") as done:
        await host.emit("work", 1)
        await host.emit("work", 2)
        (event,) = await take(done, 1)
        assert event.data == [1, True]
        for n in (3, 4):
            await host.emit("work", n)
        await eventually(lambda: settled(host, "mortal"))
        assert host.plugin("mortal").restarts == 1
        assert host.events.stats()["mortal"].delivered == 1
        await host.plugin("mortal").stop()
    assert [event.data async for event in done] == []


# What stays


@BOTH
async def test_nothing_stays_of_a_plugin_that_comes_and_goes(make_plugin: MakePlugin) -> None:
    folder = make_plugin(
        "guest",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("work", debounce=3600.0)
        async def later(event): ...

        @plugin.on("work", throttle=1.0)
        async def work(event):
            await plugin.api.events.emit("done")

        @plugin.on("work")
        async def hang(event):
            await plugin.api.events.request("never", timeout=3600)

        @plugin.hook("handle_event")
        async def handle(event): ...

        @plugin.service("guests")
        async def greet() -> str:
            return "hello"
        """,
        permissions=[*ALL, "hooks:register", "services:provide"],
    )
    async with (
        Host([folder], trusting(rates=UNLIMITED)) as host,
        host.events.subscribe("done") as done,
        host.events.subscribe("never"),
    ):
        bus, guest = host._bus, host.plugin("guest")
        await guest.stop()
        empty = len(bus.index)
        tasks = _tasks()
        for _ in range(8):
            await guest.start()
            await host.emit("work")
            await take(done, 1)
            assert await host.services.get("guests").greet() == "hello"
            await guest.stop()
            subscriber = bus.subscriber("guest")
            await eventually(lambda: settled(host, "guest"))
            assert (len(bus.index), subscriber.waiting, subscriber._held_bytes) == (empty, 0, 0)
            assert (bus.replies._pending, host.hooks.list()) == ({}, [])
            assert host.services.list() == {}
            await eventually(lambda: _tasks() <= tasks)


def _tasks() -> int:
    return len(anyio.get_running_tasks())


# The host's events, from real plugins to real plugins


@BOTH
async def test_plugins_hear_of_tasks_that_ran_and_memories_that_were_made(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin(
        "doer",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.task(every=3600, name="event:0123456789abcdef:0")
        async def tick():
            await plugin.api.events.emit("ticked")

        @plugin.tool
        async def learn() -> str:
            return await plugin.api.memory.create(None, "likes tea", "semantic", 7)
        """,
        permissions=[*ALL, "scheduler:write", "memory:write", "memory:read"],
    )
    make_plugin(
        "hears",
        """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.on("scheduler:task_executed")
        async def ran(event):
            await plugin.api.events.emit("heard.task", [event.source, event.data])

        @plugin.on("memory.*")
        async def made(event):
            await plugin.api.events.emit("heard.memory", [event.source, event.data, event.user_id])
        """,
        permissions=ALL,
    )
    async with (
        Host([folder], trusting()) as host,
        host.events.subscribe("heard.*") as heard,
        host.events.subscribe("ticked") as ticked,
    ):
        await host.scheduler.run_now("doer", "event:0123456789abcdef:0")
        (event,) = await take(heard, 1)
        source, data = event.data
        assert (source, data["plugin"], data["success"]) == ("host", "doer", True)
        assert data["name"] == "event:0123456789abcdef:0"
        (tick,) = await take(ticked, 1)
        assert (tick.parent, tick.depth) == ("", 0)  # the task's name is no event
        learned = await host.call("doer.learn", context=CallContext(user_id="ada"))
        (event,) = await take(heard, 1)
        source, data, user = event.data
        assert (source, data["id"], user) == ("host", learned, "ada")
        assert "likes tea" not in str(data)
