"""Plugins that are started at their first use, and mean no good with it."""

from dataclasses import replace
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest

from plughost import Host, State, Totals

from .conftest import MakePlugin
from .event_plugins import ALL, BOTH, eventually, take, until
from .lazy_plugins import BUSY, LISTENS, known, lazy, learned

pytestmark = pytest.mark.anyio

REGISTERS = """
    from plughost_sdk import Plugin

    class Registers(Plugin):
        async def on_load(self, api):
            starts = await api.storage.get("starts", 0)
            await api.storage.set("starts", starts + 1)
            for _ in range({times} if starts >= {first} else 0):
                await api.events.on("never", self.note)
                await api.events.off("never", self.note)

        async def note(self, event): ...

    plugin = Registers()

    @plugin.tool
    async def starts() -> int:
        return await plugin.api.storage.get("starts")
"""
STORES = [*ALL, "storage:read", "storage:write"]


@pytest.mark.parametrize("first", [0, 1])
async def test_what_registers_more_than_is_kept_stays_awake(
    make_plugin: MakePlugin, tmp_path: Path, caplog: pytest.LogCaptureFixture, first: int
) -> None:
    code = REGISTERS.format(times=2501, first=first)
    folder = make_plugin("registers", code, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path, idle_after=0.01, load_timeout=60.0)) as host:
        plugin = host.plugin("registers")
        await eventually(lambda: plugin.state is (State.SLEEPING if first else State.ACTIVE))
        assert await host.call("registers.starts") == first + 1
        assert plugin.offered is None
        assert set(host.tools) == {"registers.starts"}
        assert "registers more while it is loaded than is kept" in caplog.text
        assert await host.call("registers.starts") == first + 1


async def test_other_plugins_go_on_while_one_with_much_to_offer_falls_asleep(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    code = REGISTERS.format(times=1000, first=0)
    folder = make_plugin("registers", code, permissions=STORES, activation=["tool"])
    async with Host([folder], lazy(tmp_path, load_timeout=60.0)) as host:
        await learned(host)
        await host.call("registers.starts")
        plugin = host.plugin("registers")
        assert plugin.offered is not None
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await anyio.lowlevel.checkpoint()
                turns += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            assert await plugin.fall_asleep(plugin.offered, lambda: True)
            tasks.cancel_scope.cancel()
        assert turns > 500


@BOTH
async def test_an_event_for_which_there_was_no_room_is_handled_when_there_is(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    make_plugin("busy", BUSY, permissions=["tools:register", "events:emit"], activation=["tool"])
    folder = make_plugin("listens", LISTENS, permissions=ALL, activation=["event"])
    config = replace(lazy(tmp_path), totals=Totals(workers=1))
    async with (
        Host([folder], config) as host,
        host.events.subscribe("working") as working,
        host.events.subscribe("handled") as handled,
    ):
        await known(host)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(host.call, "busy.work")
            await take(working, 1)
            await host.emit("order.placed", 7)
            await eventually(lambda: "as many as its total" in host.plugin("listens").error)
            tasks.cancel_scope.cancel()
        assert (await take(handled, 1))[0].data == ["order.placed", 7]


CLINGS = """
    from plughost_sdk import Plugin

    class Clings(Plugin):
        async def on_load(self, api):
            await api.events.on(f"wake.{api.plugin_id}", self.note)

        async def note(self, event): ...

        async def on_unload(self):
            await self.api.events.emit(f"wake.{self.api.plugin_id}")

    plugin = Clings()
"""
MEEK = """
    from plughost_sdk import Plugin
    plugin = Plugin()

    @plugin.tool
    def answer() -> int:
        return 42
"""


@BOTH
async def test_plugins_that_wake_themselves_do_not_take_all_the_room(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    for name in ("one", "two", "three"):
        make_plugin(name, CLINGS, permissions=ALL, activation=["event"])
    folder = make_plugin("meek", MEEK, activation=["tool"])
    config = replace(lazy(tmp_path), totals=Totals(workers=2))
    async with (
        Host([folder], config) as host,
        host.events.subscribe("plugin:awake", buffer=1000) as awake,
    ):
        await known(host)
        for _ in range(3):
            assert await host.call("meek.answer") == 42
            # Each of them has its turn still.
            await until(awake, lambda event: event.data["plugin"] in ("one", "two", "three"))


HANGS = """
    import time
    from plughost_sdk import Plugin
    plugin = Plugin()
    time.sleep(1000)
"""


async def test_plugins_that_hang_while_they_are_loaded_do_not_keep_the_others_unknown(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    hanging = [f"hangs-{number}" for number in range(4)]
    for name in hanging:
        make_plugin(name, HANGS, activation=["tool"])
    folder = make_plugin("meek", MEEK, activation=["tool"])
    async with Host([folder], lazy(tmp_path, load_timeout=100.0)) as host:
        await eventually(lambda: host.plugin("meek").is_known)
        assert set(host.tools) == {"meek.answer"}
        assert {host.plugin(name).state for name in hanging} <= {State.LOADING, State.SLEEPING}


@pytest.mark.parametrize("params", [{"id": "x"}, {"id": 1, "pattern": "a b"}, [[[]]]])
async def test_a_kept_registration_that_cannot_be_read_is_learned_anew(
    make_plugin: MakePlugin, tmp_path: Path, params: object
) -> None:
    folder = make_plugin("listens", LISTENS, permissions=ALL, activation=["event"])
    kept = tmp_path / "state" / "offered" / "listens.msgpack"
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        await eventually(kept.exists)
    good = kept.read_bytes()
    form = msgspec.msgpack.decode(good)
    form["offered"]["registrations"] = [["events.subscribe", params]]
    kept.write_bytes(msgspec.msgpack.encode(form))
    async with Host([folder], lazy(tmp_path)) as host:
        await learned(host)
        assert host.problems == {}
        await eventually(lambda: kept.read_bytes() == good)
