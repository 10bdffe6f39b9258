"""Plugins that are started at their first use, and end when nobody uses them."""

import os
import signal
import textwrap
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from plughost import (
    CallContext,
    Host,
    HostMisuse,
    NotRunning,
    PluginConfig,
    StartFailed,
    State,
    Totals,
    UnknownTool,
)

from .conftest import MakePlugin
from .event_plugins import ALL, BOTH, eventually, take, until
from .lazy_plugins import BUSY, COUNTS, LISTENS, STORES, known, lazy, learned

pytestmark = pytest.mark.anyio


@BOTH
async def test_a_lazy_plugin_offers_its_tools_without_a_worker(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    config = lazy(tmp_path)
    for _ in range(3):  # the first host has to start it to know
        async with Host([folder], config) as host:
            await learned(host)
            plugin = host.plugin("counts")
            await plugin.alone()
            assert (plugin.pid, plugin.workers) == (None, [])
            assert set(host.tools) == {"counts.starts", "counts.pid"}
            assert host.tools["counts.starts"].description == "How often it was loaded."
            assert host.problems == {}
    async with Host([folder], config) as host:
        assert await host.call("counts.starts") == 2
        assert plugin.state is not State.ACTIVE
        assert host.plugin("counts").state is State.ACTIVE


@BOTH
async def test_ten_calls_at_once_start_it_once(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        pids: set[int] = set()

        async def call() -> None:
            pids.add(await host.call("counts.pid"))

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(call)
        assert len(pids) == 1
        assert await host.call("counts.starts") == 2  # once to learn what it offers


@BOTH
async def test_it_ends_when_nobody_uses_it_and_comes_back(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path, idle_after=0.2)) as host:
        await learned(host)  # on a busy machine the host has started before
        async with host.events.subscribe("plugin.asleep") as asleep:
            for times in (2, 3):
                assert await host.call("counts.starts") == times
                await take(asleep, 1)
                plugin = host.plugin("counts")
                assert plugin.state is State.SLEEPING
                await plugin.alone()
                assert plugin.workers == []


async def test_a_call_waits_where_it_is_not_known_yet_what_a_plugin_offers(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    slow = "import time; time.sleep(1.5)\n" + textwrap.dedent(COUNTS)
    folder = make_plugin("counts", slow, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        assert await host.call("counts.starts") == 1
        with pytest.raises(UnknownTool, match=r"counts\.stats.*counts\.starts"):
            await host.call("counts.stats")


async def test_what_is_known_does_not_hold_for_other_code(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
    code = folder / "counts" / "plugin.py"
    code.write_text(code.read_text().replace("pid", "qid"))  # of the same length
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        assert set(host.tools) == {"counts.starts", "counts.qid"}
        assert await host.call("counts.starts") == 3


async def test_what_is_known_does_not_hold_with_fewer_permissions(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
    config = replace(lazy(tmp_path), grants={"counts": ["storage:read", "storage:write"]})
    async with Host([folder], config) as host:
        await eventually(lambda: host.plugin("counts").state is State.ERROR)
        assert host.tools == {}
        assert "tools:register" in host.problems["counts"]


@pytest.mark.parametrize("junk", [b"", b"no msgpack", b"\x92\x01\x93\xa0"])
async def test_a_broken_file_of_what_is_known_is_replaced(
    make_plugin: MakePlugin, tmp_path: Path, junk: bytes
) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    kept = tmp_path / "state" / "offered" / "counts.msgpack"
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        await eventually(kept.exists)
    good = kept.read_bytes()
    assert kept.parent.stat().st_mode & 0o077 == 0
    kept.write_bytes(junk)
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        assert set(host.tools) == {"counts.starts", "counts.pid"}
        await eventually(lambda: kept.read_bytes() == good)


async def test_the_operator_decides_what_is_lazy(make_plugin: MakePlugin, tmp_path: Path) -> None:
    make_plugin("eager", COUNTS, permissions=STORES)
    folder = make_plugin("lazy", COUNTS, permissions=STORES, activation=["tool"])
    plugins = {
        "eager": PluginConfig(activation=("tool",)),
        "lazy": PluginConfig(activation=("start",)),
    }
    async with Host([folder], replace(lazy(tmp_path), plugins=plugins)) as host:
        await eventually(lambda: host.plugin("eager").state is State.SLEEPING)
        assert host.plugin("lazy").state is State.ACTIVE
    for wrong in ("tools", "tool:x", "command", "event:a b"):
        config = replace(lazy(tmp_path), plugins={"lazy": PluginConfig(activation=(wrong,))})
        with pytest.raises(HostMisuse, match=r"lazy.*activation"):
            Host([folder], config)


async def test_commands_on_a_plugin_that_sleeps(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        plugin = host.plugin("counts")
        await host.disable("counts")
        with pytest.raises(NotRunning, match="disabled"):
            await host.call("counts.pid")
        await host.enable("counts")
        assert await host.call("counts.starts") == 2
        await host.unload("counts")
        assert host.tools == {}
        with pytest.raises(NotRunning, match="unloaded"):
            await host.call("counts.pid")
        await host.load("counts")
        assert plugin.state is State.ACTIVE
        code = folder / "counts" / "plugin.py"
        code.write_text(code.read_text().replace("pid", "number"))
        await host.reload("counts")
        assert set(host.tools) == {"counts.starts", "counts.number"}


async def test_a_reload_of_a_plugin_that_sleeps(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    code = folder / "counts" / "plugin.py"
    good = code.read_text()
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        plugin = host.plugin("counts")
        code.write_text("raise ValueError('no such luck')")
        with pytest.raises(StartFailed, match="no such luck"):
            await host.reload("counts")
        assert (plugin.state, plugin.active_worker) == (State.SLEEPING, None)
        assert "no such luck" in plugin.reload_error
        code.write_text(good.replace("pid", "number"))
        await host.reload("counts")
        assert plugin.state is State.ACTIVE
        assert set(host.tools) == {"counts.starts", "counts.number"}


@BOTH
async def test_what_was_reloaded_while_it_slept_is_started_again_after_a_crash(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        plugin = host.plugin("counts")
        await host.reload("counts")
        for _ in range(2):
            before = plugin.pid
            assert before is not None
            os.kill(before, signal.SIGKILL)
            after = await host.call("counts.pid")
            assert after not in (before, None)
        assert plugin.restarts == 2
        await host.unload("counts")
        assert (plugin.workers, plugin.template_pid) == ([], None)


async def test_a_plugin_that_is_reloaded_while_it_sleeps_keeps_nobody_from_finding_room(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    slow = "import time; time.sleep(0.5)\n" + textwrap.dedent(COUNTS)
    make_plugin("slow", slow, permissions=STORES, activation=["tool"])
    folder = make_plugin("quick", COUNTS, permissions=STORES, activation=["tool"])
    config = replace(lazy(tmp_path), totals=Totals(workers=1))
    async with Host([folder], config) as host:
        await learned(host)
        for plugin in host.plugins.values():
            await plugin.alone()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.reload, "slow")
            await eventually(lambda: bool(host.plugin("slow").workers))
            assert await host.call("quick.pid")
        assert host.plugin("slow").state is State.SLEEPING  # once it was loaded, it was idle


async def test_a_plugin_that_cannot_be_started_any_more_says_why_to_who_needs_it(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        (folder / "counts" / "plugin.py").write_text("raise ValueError('no such luck')")
        with pytest.raises(NotRunning, match="no such luck"):
            await host.call("counts.pid")
        assert host.plugin("counts").state is State.ERROR


async def test_new_values_are_those_of_the_next_worker(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    code = """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.tool
        def city() -> str:
            return plugin.api.config["city"]
    """
    schema = {"city": {"type": "string", "default": "Oslo"}}
    folder = make_plugin("weather", code, config_schema=schema, activation=["tool"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        await host.configure({"weather": {"city": "Rome"}})
        assert host.plugin("weather").state is State.SLEEPING
        assert await host.call("weather.city") == "Rome"


async def test_what_needs_a_plugin_that_sleeps_starts(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    make_plugin("base", COUNTS, permissions=STORES, activation=["tool"])
    folder = make_plugin("above", COUNTS, permissions=STORES, dependencies=["base"])
    async with Host([folder], lazy(tmp_path)) as host:
        assert host.problems == {}
        assert host.plugin("above").state is State.ACTIVE
        await eventually(lambda: host.plugin("base").state is State.SLEEPING)


async def test_a_command_starts_those_that_name_it(make_plugin: MakePlugin, tmp_path: Path) -> None:
    make_plugin("one", COUNTS, permissions=STORES, activation=["command:report"])
    folder = make_plugin("two", COUNTS, permissions=STORES, activation=["command:other"])
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        assert await host.activate("report") == ["one"]
        assert host.plugin("one").state is State.ACTIVE
        assert host.plugin("two").state is State.SLEEPING
        assert await host.activate("unheard-of") == []


@BOTH
async def test_idle_workers_make_room_where_there_are_as_many_as_there_may_be(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        make_plugin(name, COUNTS, permissions=STORES, activation=["tool"])
    asked = ["tools:register", "events:emit"]
    folder = make_plugin("busy", BUSY, permissions=asked, activation=["tool"])
    config = replace(lazy(tmp_path), totals=Totals(workers=1))
    async with (
        Host([folder], config) as host,
        host.events.subscribe("working") as working,
    ):
        await known(host)
        for name in ("one", "two", "three", "one"):
            assert await host.call(f"{name}.starts") >= 1
            assert host.plugin(name).state is State.ACTIVE
            assert len([w for p in host.plugins.values() for w in p.workers]) == 1
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.call, "busy.work")
            await take(working, 1)
            with pytest.raises(NotRunning, match="as many as its total allows"):
                await host.call("one.starts")
            assert host.plugin("one").state is State.SLEEPING
            tasks.cancel_scope.cancel()


@BOTH
async def test_there_are_never_more_workers_than_there_may_be(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    for number in range(6):
        folder = make_plugin(f"p{number}", COUNTS, permissions=STORES, activation=["tool"])
    config = replace(lazy(tmp_path), totals=Totals(workers=2))
    seen: set[int] = set()

    async def call(plugin: str) -> None:
        for _ in range(3):
            with suppress(NotRunning):  # it has waited long enough
                await host.call(f"{plugin}.pid", context=CallContext(timeout=20))

    async def look() -> None:
        while True:
            seen.add(sum(len(plugin.workers) for plugin in host.plugins.values()))
            await anyio.lowlevel.checkpoint()

    async with Host([folder], config) as host, anyio.create_task_group() as looking:
        looking.start_soon(look)
        await known(host)
        async with anyio.create_task_group() as tasks:
            for plugin in host.plugins:
                tasks.start_soon(call, plugin)
        looking.cancel_scope.cancel()
    assert max(seen) == 2


@BOTH
async def test_a_worker_that_is_in_use_for_a_moment_makes_room_then(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    code = """
        from plughost_sdk import Plugin
        plugin = Plugin()

        @plugin.tool
        async def work() -> str:
            return await plugin.api.events.request("order")
    """
    asked = ["tools:register", "events:emit"]
    make_plugin("busy", code, permissions=asked, activation=["tool"])
    folder = make_plugin("counts", COUNTS, permissions=STORES, activation=["tool"])
    config = replace(lazy(tmp_path), totals=Totals(workers=1))
    async with (
        Host([folder], config) as host,
        host.events.subscribe("order") as orders,
    ):
        await known(host)
        answers: dict[str, object] = {}

        async def call(tool: str) -> None:
            answers[tool] = await host.call(tool)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "busy.work")
            (order,) = await take(orders, 1)
            tasks.start_soon(call, "counts.starts")
            await eventually(lambda: host.plugin("counts").state is State.LOADING)
            assert host.events.reply(order, "done")
        assert answers == {"busy.work": "done", "counts.starts": 2}


async def test_an_event_starts_it_and_is_handled(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin("listens", LISTENS, permissions=ALL, activation=["event"])
    for _ in range(2):  # with a host that has to learn, and with one that knows
        async with (
            Host([folder], lazy(tmp_path)) as host,
            host.events.subscribe("handled") as handled,
        ):
            await learned(host)
            plugin = host.plugin("listens")
            await host.emit("order.placed", 7)
            await host.emit("noise", 8)
            seen = [event.data for event in await take(handled, 2)]
            assert sorted(seen) == [["noise", 8], ["order.placed", 7]]
            assert plugin.state is State.ACTIVE


async def test_of_named_events_only_those_start_it(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin("listens", LISTENS, permissions=ALL, activation=["event:order.*"])
    async with (
        Host([folder], lazy(tmp_path)) as host,
        host.events.subscribe("handled") as handled,
    ):
        await learned(host)
        plugin = host.plugin("listens")
        await host.emit("noise", 1)
        assert plugin.state is State.SLEEPING
        await host.emit("order.placed", 2)
        await host.emit("noise", 3)  # by then it is on its way
        assert (await take(handled, 1))[0].data == ["order.placed", 2]
        await host.emit("noise", 4)
        assert (await take(handled, 1))[0].data == ["noise", 4]


@BOTH
async def test_events_in_the_moment_of_falling_asleep_are_not_lost(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("listens", LISTENS, permissions=ALL, activation=["event"])
    async with (
        Host([folder], lazy(tmp_path, idle_after=0.05)) as host,
        host.events.subscribe("handled", buffer=1000) as handled,
        host.events.subscribe("plugin.asleep") as asleep,
    ):
        await learned(host)
        sent = 0
        for _ in range(3):
            for _ in range(20):
                await host.emit("order.placed", sent)
                sent += 1
            await until(asleep, lambda _: host.plugin("listens").state is State.SLEEPING)
        assert [e.data[1] for e in await take(handled, sent)] == list(range(sent))


TICKS = """
    from plughost_sdk import Plugin

    class Ticks(Plugin):
        async def on_load(self, api):
            await api.scheduler.schedule("tick", 1.0, self.tick)

        async def tick(self):
            await self.api.events.emit("ticked")

    plugin = Ticks()
"""
TICKING = ["scheduler:write", "scheduler:read", "events:emit"]


@BOTH
async def test_a_task_that_is_due_starts_it(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin("ticks", TICKS, permissions=TICKING, activation=["schedule"])
    for _ in range(2):
        async with (
            Host([folder], lazy(tmp_path, idle_after=0.01)) as host,
            host.events.subscribe("ticked") as ticked,
            host.events.subscribe("plugin.asleep") as asleep,
        ):
            for _ in range(2):
                await take(ticked, 1)
                await take(asleep, 1)
            (task,) = host.scheduler.tasks("ticks")
            assert (task.name, task.failures, task.last_error) == ("tick", 0, "")


async def test_a_task_does_not_start_what_its_schedule_does_not_start(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    code = TICKS + "\n    @plugin.tool\n    def nothing() -> None: ...\n"
    asked = [*TICKING, "tools:register"]
    folder = make_plugin("ticks", code, permissions=asked, activation=["tool"])
    async with (
        Host([folder], lazy(tmp_path, idle_after=0.01)) as host,
        host.events.subscribe("ticked") as ticked,
        host.events.subscribe("plugin.asleep") as asleep,
    ):
        await host.call("ticks.nothing")
        await take(asleep, 1)
        await eventually(lambda: host.scheduler.tasks("ticks")[0].waiting == 1)
        assert host.plugin("ticks").state is State.SLEEPING
        await host.call("ticks.nothing")  # what it missed is made up for when it is there
        await take(ticked, 1)


PROVIDES = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.service("words")
    def count(text: str) -> int:
        return len(text.split())
"""


async def test_a_call_of_its_service_starts_it(make_plugin: MakePlugin, tmp_path: Path) -> None:
    folder = make_plugin(
        "words", PROVIDES, permissions=["services:provide"], activation=["service"]
    )
    for _ in range(2):
        async with Host([folder], lazy(tmp_path)) as host:
            await learned(host)
            assert "words" in host.services.list()
            assert await host.services.get("words").count("three small words") == 3


GUARDS = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.hook("filter_event", only="order.*")
    async def change(event):
        return {**event.data, "checked": True}
"""


async def test_what_it_has_a_hook_for_starts_it(make_plugin: MakePlugin, tmp_path: Path) -> None:
    asked = ["hooks:register:filter_event", "events:subscribe"]
    folder = make_plugin("guards", GUARDS, permissions=asked, activation=["hook"])
    for _ in range(2):
        async with Host([folder], lazy(tmp_path)) as host:
            await learned(host)
            plugin = host.plugin("guards")
            event = await host.emit("order.placed", {})
            assert event is not None
            assert event.data == {"checked": True}
            assert plugin.state is State.ACTIVE
