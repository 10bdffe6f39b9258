"""A plugin is loaded anew while it serves: what is open, what comes, and what goes wrong."""

import os
import signal
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from plughost import Cause, Host, Rates, StartFailed, State, UnknownTool, WorkerDied

from .conftest import trusting
from .swap_plugins import ANSWERS, HOLDS, Versions

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

QUICK = Rates(operations=None)
STORES = ["tools:register", "storage:read", "storage:write"]


async def test_twenty_swaps_under_load_lose_no_call_and_answer_none_twice(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(0)
    swaps, callers = 20, 64
    over = False
    calls = 0
    async with Host([tmp_path], trusting()) as host:
        plugin = host.plugin("demo")

        async def call(caller: int) -> None:
            nonlocal calls
            last, number = 0, caller
            while not over:
                answered, version = await host.call("demo.version", {"number": number})
                assert answered == number
                assert version >= last, "an older version answered after a newer one"
                last, number, calls = version, number + callers, calls + 1

        async with anyio.create_task_group() as tasks:
            for caller in range(callers):
                tasks.start_soon(call, caller)
            for swap in range(1, swaps + 1):
                versions.write(swap)
                await host.reload("demo")
                assert plugin.state is State.ACTIVE
                assert (await host.call("demo.version", {"number": -1}))[1] == swap
            over = True
        assert plugin.version == f"{swaps}.0.0"
        assert (plugin.stats.swaps, plugin.stats.restarts, plugin.stats.errors) == (swaps, 0, 0)
        assert plugin.stats.calls == calls + swaps
        assert calls > 10 * callers


async def test_what_is_open_ends_in_the_old_worker_which_can_still_ask_its_host(
    tmp_path: Path,
) -> None:
    versions = Versions(tmp_path, permissions=STORES)
    versions.write(1, HOLDS)
    results = []
    async with Host([tmp_path], trusting(rates=QUICK)) as host:

        async def hold() -> None:
            results.append(await host.call("demo.hold", {"name": "one"}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            while not await host.call("demo.began", {"name": "one"}):
                pass
            old = host.plugin("demo").worker
            assert old is not None
            versions.write(2, HOLDS)
            await host.reload("demo")
            assert await host.call("demo.version") == 2
            assert len(host.plugin("demo").workers) == 2
            assert old.exit is None
            await host.call("demo.release", {"name": "one"})
        assert results == [["one", 1]]
        assert old is not None
        await old.wait()
        assert old.exit is not None
        assert old.exit.cause is Cause.STOPPED


async def test_what_does_not_load_leaves_all_as_it_was(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], trusting()) as host:
        pid = host.plugin("demo").pid
        for code in ("raise ValueError('no such luck')", "import os; os.abort()"):
            versions.write(2, code)
            with pytest.raises(StartFailed):
                await host.reload("demo")
            plugin = host.plugin("demo")
            assert (plugin.state, plugin.version, plugin.pid) == (State.ACTIVE, "1.0.0", pid)
            assert plugin.reload_error.startswith("version 2.0.0: ")
            assert len(plugin.workers) == 1
            assert await host.call("demo.version", {"number": 7}) == [7, 1]
        versions.write(3)
        await host.reload("demo")
        assert plugin.reload_error == ""
        assert await host.call("demo.version", {"number": 7}) == [7, 3]


async def test_the_tools_are_those_of_the_new_version(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], trusting()) as host:
        versions.write(2, ANSWERS.replace("def version", "def edition"))
        await host.reload("demo")
        assert list(host.tools) == ["demo.edition"]
        with pytest.raises(UnknownTool):
            await host.call("demo.version", {"number": 1})
        assert await host.call("demo.edition", {"number": 1}) == [1, 2]


WAITS_AT_LOAD = (
    ANSWERS
    + """

async def on_load(api):
    while not await api.call("gate.is_open"):
        await asyncio.sleep(0.01)

plugin.on_load = on_load
"""
)
GATE = """
from plughost_sdk import Plugin

plugin = Plugin()
is_open_now = False

@plugin.tool
def is_open() -> bool:
    return is_open_now

@plugin.tool
def open() -> None:
    global is_open_now
    is_open_now = True
"""
USES_GATE = ["tools:register", "tools:execute"]


async def test_the_old_worker_may_die_while_the_new_one_loads(tmp_path: Path) -> None:
    Versions(tmp_path, "gate").write(1, GATE)
    versions = Versions(tmp_path, permissions=USES_GATE)
    versions.write(1)
    async with Host([tmp_path], trusting(rates=QUICK)) as host:
        plugin = host.plugin("demo")
        answers = []

        async def call() -> None:
            answers.append(await host.call("demo.version", {"number": 5}))

        async with anyio.create_task_group() as tasks:
            versions.write(2, WAITS_AT_LOAD)
            tasks.start_soon(host.reload, "demo")
            while len(plugin.workers) < 2:
                await anyio.lowlevel.checkpoint()
            assert plugin.pid is not None
            os.kill(plugin.pid, signal.SIGKILL)
            while plugin.state is not State.RESTARTING:
                await anyio.lowlevel.checkpoint()
            for _ in range(3):
                tasks.start_soon(call)
            await host.call("gate.open")
        assert answers == [[5, 2]] * 3
        assert (plugin.state, plugin.version, plugin.restarts) == (State.ACTIVE, "2.0.0", 0)


async def test_the_new_worker_is_restarted_as_the_policy_says(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], trusting()) as host:
        plugin = host.plugin("demo")
        versions.write(2)
        await host.reload("demo")
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        while plugin.state is not State.RESTARTING:
            await anyio.lowlevel.checkpoint()
        assert await host.call("demo.version", {"number": 1}) == [1, 2]
        assert plugin.restarts == 1


async def test_a_plugin_that_is_stopped_while_it_is_swapped_stops(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.write(1)
    async with Host([tmp_path], trusting()) as host:
        plugin = host.plugin("demo")
        versions.write(2, "import time; time.sleep(60)")
        failed = False

        async def reload() -> None:
            nonlocal failed
            try:
                await host.reload("demo")
            except StartFailed:
                failed = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reload)
            while len(plugin.workers) < 2:
                await anyio.lowlevel.checkpoint()
            await plugin.stop()
            assert plugin.state is State.UNLOADED
            assert plugin.workers == []
        assert failed


async def test_calls_that_the_old_worker_dies_with_end_as_they_would_without_a_swap(
    tmp_path: Path,
) -> None:
    versions = Versions(tmp_path, permissions=STORES)
    versions.write(1, HOLDS)
    async with Host([tmp_path], trusting(rates=QUICK)) as host:
        plugin = host.plugin("demo")

        async def hold() -> None:
            with pytest.raises(WorkerDied) as caught:
                await host.call("demo.hold", {"name": "one"})
            assert caught.value.outcome_unknown

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            while not await host.call("demo.began", {"name": "one"}):
                pass
            old = plugin.pid
            versions.write(2, HOLDS)
            await host.reload("demo")
            assert old is not None
            os.kill(old, signal.SIGKILL)
        assert (plugin.state, plugin.restarts) == (State.ACTIVE, 0)
        assert await host.call("demo.version") == 2


TASKS = """
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.task(every=3600)
async def stays() -> None: ...

@plugin.task(every=3600)
async def {old}() -> None: ...

@plugin.tool
async def later() -> None:
    await plugin.api.scheduler.schedule("later", 3600, stays)
"""


async def test_a_reload_cancels_the_tasks_that_the_new_version_does_not_schedule(
    tmp_path: Path,
) -> None:
    versions = Versions(tmp_path, permissions=["tools:register", "scheduler:write"])
    versions.write(1, TASKS.replace("{old}", "goes"))
    async with Host([tmp_path], trusting()) as host:

        def tasks() -> dict[str, str]:
            return {task.name: task.id for task in host.scheduler.tasks("demo")}

        before = tasks()
        await host.call("demo.later")
        # A new worker of the same version cancels nothing.
        await host.plugin("demo").swap(host.plugin("demo").found)
        assert set(tasks()) == {"stays", "goes", "later"}
        versions.write(2, TASKS.replace("{old}", "comes"))
        await host.reload("demo")
        assert set(tasks()) == {"stays", "comes"}
        assert tasks()["stays"] == before["stays"]
