"""What a plugin offers to others, and gets of them, while it is loaded anew."""

from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from plughost import Host, Rates, StartFailed

from .conftest import sharing
from .event_plugins import eventually, take
from .swap_plugins import Versions

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

ALL = [
    "tools:register",
    "tools:execute",
    "events:subscribe",
    "events:emit",
    "hooks:register",
    "services:provide",
    "scheduler:write",
    "scheduler:read",
]
CODE = """
import asyncio
from plughost_sdk import HostError, Plugin

plugin = Plugin()
VERSION = {version}

async def note(event):
    await plugin.api.events.emit("noted", [VERSION, event.name, event.data])

async def metrics():
    return {"version": VERSION}

async def tick():
    await plugin.api.events.emit("ticked", VERSION)

class Echo:
    async def version(self) -> int:
        return VERSION

async def offer(api, suffix=""):
    await api.events.on("thing" + suffix, note)
    await api.services.provide("echo" + suffix, Echo())
    await api.hooks.register("collect_metrics", metrics)
    await api.scheduler.schedule("tick" + suffix, 3600, tick)

@plugin.tool
async def more() -> None:
    await offer(plugin.api, "2")

@plugin.tool
async def outlast() -> list:
    # Held by the old worker until the new one has taken its place, and then it registers.
    while (await plugin.api.call("gate.turn")) < 2:
        await asyncio.sleep(0.01)
    refused = []
    for attempt in (
        lambda: plugin.api.events.on("late", note),
        lambda: plugin.api.services.provide("late", Echo()),
        lambda: plugin.api.hooks.register("collect_metrics", metrics),
        lambda: plugin.api.scheduler.schedule("late", 3600, tick),
        lambda: plugin.api.register_tool(late),
    ):
        try:
            await attempt()
        except HostError as exc:
            refused.append(exc.code)
    await plugin.api.events.off("thing")
    await plugin.api.services.withdraw("echo")
    await plugin.api.hooks.unregister("collect_metrics")
    await plugin.api.unregister_tool("more")
    return refused

def late() -> None: ...

async def on_load(api):
    await offer(api)
    if VERSION > 1:
        await api.call("gate.arrive")
        while not await api.call("gate.turn"):
            await asyncio.sleep(0.01)
    if VERSION == 3:
        raise ValueError("it cannot be")

plugin.on_load = on_load
"""
GATE = """
from plughost_sdk import Plugin

plugin = Plugin()
now = 0
arrivals = 0

@plugin.tool
def turn() -> int:
    return now

@plugin.tool
def open(turn: int) -> None:
    global now
    now = turn

@plugin.tool
def arrive() -> None:
    global arrivals
    arrivals += 1

@plugin.tool
def arrived() -> int:
    return arrivals
"""


def begin(tmp_path: Path) -> Versions:
    Versions(tmp_path, "gate").write(1, GATE)
    versions = Versions(tmp_path, permissions=ALL, dependencies=["gate"])
    versions.write(1, CODE)
    return versions


def host_of(tmp_path: Path) -> Host:
    unlimited = {"events": None, "services": None, "tools": None}
    return Host([tmp_path], sharing(rates=Rates(operations=None, services=unlimited)))


async def loaded_up_to_the_gate(host: Host, arrivals: int = 1) -> None:
    while await host.call("gate.arrived") < arrivals:
        await anyio.lowlevel.checkpoint()


def agenda(host: Host) -> dict[str, Any]:
    """Of each task by name: its id, and when it is due."""
    return {task.name: (task.id, task.next_run) for task in host.scheduler.tasks("demo")}


def about(agenda: dict[str, Any]) -> dict[str, Any]:
    """The same: the time of the next run is computed anew each time."""
    return {name: (own_id, pytest.approx(at, abs=1.0)) for name, (own_id, at) in agenda.items()}


def is_busy(host: Host) -> bool:
    worker = host.plugin("demo").active_worker
    return worker is not None and worker.is_busy


async def versions_seen(host: Host, suffix: str = "") -> dict[str, Any]:
    """Which version answers by each way."""
    async with host.events.subscribe("noted") as noted, host.events.subscribe("ticked") as ticked:
        await host.emit("thing" + suffix, "x")
        [heard] = await take(noted, 1)
        await host.scheduler.run_now("demo", "tick" + suffix)
        [tick] = await take(ticked, 1)
        return {
            "event": heard.data[0],
            "task": tick.data,
            "service": await host.services.get("echo" + suffix).version(),
            "hook": (await host.hooks.collect_metrics())["demo"]["version"],
        }


def all_by(version: int) -> dict[str, int]:
    return dict.fromkeys(("event", "task", "service", "hook"), version)


async def test_all_that_a_plugin_offers_is_turned_over_in_one_step(tmp_path: Path) -> None:
    versions = begin(tmp_path)
    async with host_of(tmp_path) as host, host.events.subscribe("plugin.*") as lives:
        assert await versions_seen(host) == all_by(1)
        before = about(agenda(host))
        versions.write(2, CODE)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.reload, "demo")
            await loaded_up_to_the_gate(host)
            assert await versions_seen(host) == all_by(1)
            await host.call("demo.more")  # the old worker's, and not the new one's
            assert await versions_seen(host, "2") == all_by(1)
            await host.call("gate.open", {"turn": 1})
        assert await versions_seen(host) == all_by(2)
        assert set(host.services.list()) == {"echo"}
        assert {"tick": agenda(host)["tick"]} == before
        async with host.events.subscribe("noted") as noted:
            await host.emit("thing2", "nobody's now")
            await host.emit("thing", "y")
            [heard] = await take(noted, 1)
            assert heard.data == [2, "thing", "y"]
        events = await take(lives, 1)
        assert [(e.name, e.data["version"]) for e in events] == [("plugin:reloaded", "2.0.0")]


async def test_a_swap_that_fails_leaves_what_the_old_worker_offers_and_nothing_else(
    tmp_path: Path,
) -> None:
    versions = begin(tmp_path)
    async with host_of(tmp_path) as host:
        before = about(agenda(host))
        versions.write(3, CODE.replace("3600, tick", "1800, tick"))

        async def reload() -> None:
            with pytest.raises(StartFailed, match="it cannot be"):
                await host.reload("demo")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reload)
            await loaded_up_to_the_gate(host)
            await host.call("gate.open", {"turn": 1})
        assert agenda(host) == before
        assert set(host.services.list()) == {"echo"}
        assert await versions_seen(host) == all_by(1)
        await host.call("demo.more")
        assert await versions_seen(host, "2") == all_by(1)
        versions.write(2, CODE)
        await host.reload("demo")
        assert await versions_seen(host) == all_by(2)


async def test_a_worker_that_was_replaced_registers_nothing_and_takes_nothing_back(
    tmp_path: Path,
) -> None:
    versions = begin(tmp_path)
    refused: list[str] = []
    async with host_of(tmp_path) as host:

        async def outlast() -> None:
            refused.extend(await host.call("demo.outlast"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outlast)
            versions.write(2, CODE)
            await host.call("gate.open", {"turn": 1})
            while not is_busy(host):
                await anyio.lowlevel.checkpoint()
            await host.reload("demo")
            await host.call("gate.open", {"turn": 2})
        assert refused == ["not_running"] * 5
        assert await versions_seen(host) == all_by(2)
        assert {"demo.more", "demo.outlast"} == {t for t in host.tools if t.startswith("demo")}


async def test_events_in_the_time_of_a_swap_are_each_handled_once(tmp_path: Path) -> None:
    versions = begin(tmp_path)
    async with host_of(tmp_path) as host, host.events.subscribe("noted", buffer=2000) as noted:
        await host.call("gate.open", {"turn": 1})
        count, reloads = 0, 4

        async def emit() -> None:
            nonlocal count
            while host.plugin("demo").stats.swaps < reloads:
                await host.emit("thing", count)
                count += 1
                await anyio.sleep(0.002)  # some 500 a second: the queue holds them

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(emit)
            for _ in range(reloads):
                versions.write(2, CODE)
                await host.reload("demo")
        heard = await take(noted, count)
        assert sorted(event.data[2] for event in heard) == list(range(count))
        with anyio.move_on_after(0.1):
            pytest.fail(f"one too many: {await anext(noted)}")


async def test_a_hook_that_is_closed_refuses_nothing_because_of_a_swap(tmp_path: Path) -> None:
    versions = Versions(tmp_path, "guard", permissions=ALL)
    guard = """
import asyncio
from plughost_sdk import Plugin
plugin = Plugin()

@plugin.hook("before_request", on_failure="closed")
async def first(request):
    await asyncio.sleep(0)

@plugin.hook("before_request", on_failure="closed", trylast=True)
async def last(request):
    await asyncio.sleep(0)
"""
    versions.write(1, guard)
    Versions(tmp_path, "gate").write(1, GATE)
    over = False
    calls = 0
    async with host_of(tmp_path) as host:

        async def call() -> None:
            nonlocal calls
            while not over:
                assert await host.call("gate.turn") == 0
                calls += 1

        async def more_calls(wanted: int) -> None:
            await eventually(lambda: calls >= wanted)

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(call)
            for version in range(2, 6):
                versions.write(version, guard)
                await host.reload("guard")
                await more_calls(calls + 40)
            over = True
        assert calls > 100
