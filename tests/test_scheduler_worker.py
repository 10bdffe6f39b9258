"""Tasks in real workers: they run, fail, hang, crash their worker, and end with the plugin."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from plughost import Host, LogEntry, Restart, ToolError
from plughost.service_config import Rates, SchedulerConfig

from .conftest import MakePlugin, trusting

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

PERMISSIONS = ["tools:register", "scheduler:write", "scheduler:read"]

CODE = """
import asyncio, os
from datetime import timedelta
from plughost_sdk import HostError, Plugin, PluginMistake, ToolError, current_call

plugin = Plugin()
seen = {}
grown = asyncio.Condition()

async def note(name):
    seen[name] = seen.get(name, 0) + 1
    async with grown:
        grown.notify_all()

@plugin.task(every=0.05)
async def tick():
    await note("tick")

@plugin.task(timedelta(seconds=0.05), name="in-a-thread")
def blocking():
    plugin.api.blocking.scheduler.list()
    asyncio.run_coroutine_threadsafe(note("in-a-thread"), loop).result()

@plugin.task
async def reminder():
    await note("reminder")

@plugin.task("0 9 * * *", timezone="Europe/Oslo", timeout=5)
async def daily():
    await note(current_call().tool)

async def on_load(api):
    global loop
    loop = asyncio.get_running_loop()

plugin.on_load = on_load

@plugin.tool
async def wait(name: str, count: int) -> None:
    async with grown:
        await grown.wait_for(lambda: seen.get(name, 0) >= count)

@plugin.tool
async def schedule(
    name: str, delay: float, once: bool = False, timeout: float | None = None
) -> str:
    handler = {"fails": fails, "hangs": hangs, "crashes": crashes, "slow": slow}.get(name)
    return await plugin.api.scheduler.schedule(name, delay, handler, once=once, timeout=timeout)

@plugin.tool
async def cancel(id: str) -> None:
    await plugin.api.scheduler.cancel(id)

@plugin.tool
async def handlers() -> list[str]:
    return sorted(name for name in plugin.api._link.handlers if name.startswith("task:"))

@plugin.tool
async def tasks() -> list[str]:
    return [task.name for task in await plugin.api.scheduler.list()]

@plugin.tool
async def refused(name: str, when: str | float) -> str:
    try:
        await plugin.api.scheduler.schedule(name, when, fails)
    except HostError as exc:
        return f"{exc.code}: {exc}"
    except PluginMistake as exc:
        return f"mistake: {exc}"

async def fails():
    await note("fails")
    raise ValueError("no luck")

async def hangs():
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await note("hangs was cancelled")
        raise

async def slow():
    await note("slow began")
    await asyncio.sleep(60)

async def crashes():
    os._exit(7)
"""


class Log:
    """The plugins' log, and a way to wait for a line of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._grown = anyio.Event()

    def __call__(self, entry: LogEntry) -> None:
        self.lines.append(entry.message)
        self._grown.set()

    async def until(self, text: str) -> str:
        with anyio.fail_after(30):
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                self._grown = anyio.Event()
                await self._grown.wait()


@pytest.fixture
def folder(make_plugin: MakePlugin) -> Path:
    return make_plugin("clock", CODE, permissions=PERMISSIONS)


def hosting(folder: Path, log: Callable[[LogEntry], None] | None = None) -> Host:
    config = trusting(
        scheduler=SchedulerConfig(smallest_interval=0.01),
        rates=Rates(operations=None),
        restart=Restart(limit=100, backoff=0.001),
    )
    return Host([folder], config, on_log=log)


def kill(host: Host) -> None:
    # Not what the plugin takes for its id: it lives in a namespace of its own.
    pid = host.plugin("clock").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


async def test_declared_tasks_run_on_the_loop_and_in_threads(folder: Path) -> None:
    async with hosting(folder) as host:
        assert not host.problems
        await host.call("clock.wait", {"name": "tick", "count": 3})
        await host.call("clock.wait", {"name": "in-a-thread", "count": 2})
        names = [task.name for task in host.scheduler.tasks("clock")]
        assert names == await host.call("clock.tasks") == ["tick", "in-a-thread", "daily"]
        daily = host.scheduler.tasks("clock")[2]
        assert daily.schedule == "0 9 * * * (Europe/Oslo)"
        assert daily.next_run is not None


async def test_the_application_runs_a_task_beside_its_schedule(folder: Path) -> None:
    async with hosting(folder) as host:
        calls = host.plugin("clock").stats.calls
        outcome = await host.scheduler.run_now("clock", "daily")
        assert outcome.error == ""
        assert host.plugin("clock").stats.calls > calls
        await host.call("clock.wait", {"name": "task:daily", "count": 1})


async def test_a_single_run_by_a_declared_handler(folder: Path) -> None:
    async with hosting(folder) as host:
        await host.call("clock.schedule", {"name": "reminder", "delay": 0.02, "once": True})
        await host.call("clock.wait", {"name": "reminder", "count": 1})


async def test_a_handler_of_a_single_run_is_not_held_for_good(folder: Path) -> None:
    log = Log()
    async with hosting(folder, log) as host:
        await host.call("clock.schedule", {"name": "fails", "delay": 0.02, "once": True})
        await log.until("task 'fails' failed")
        assert "task:fails" not in await host.call("clock.handlers")


async def test_what_a_handler_raises_is_logged_and_counted(folder: Path) -> None:
    log = Log()
    async with hosting(folder, log) as host:
        await host.call("clock.schedule", {"name": "fails", "delay": 0.02})
        await host.call("clock.wait", {"name": "fails", "count": 3})
        line = await log.until("task 'fails' failed")
        assert "ValueError: no luck (plugin.py, line" in line
        task = next(task for task in host.scheduler.tasks("clock") if task.name == "fails")
        assert task.failures >= 2
        assert "no luck" in task.last_error


async def test_a_run_that_overruns_its_timeout_is_cancelled(folder: Path) -> None:
    log = Log()
    async with hosting(folder, log) as host:
        params = {"name": "hangs", "delay": 0.02, "once": True, "timeout": 0.1}
        await host.call("clock.schedule", params)
        await host.call("clock.wait", {"name": "hangs was cancelled", "count": 1})
        await log.until("clock (task hangs) did not answer within 100 ms")
        assert host.plugin("clock").stats.timeouts == 1


async def test_a_cancelled_task_leaves_neither_entry_nor_handler(folder: Path) -> None:
    async with hosting(folder) as host:
        task_id = await host.call("clock.schedule", {"name": "fails", "delay": 3600})
        assert "task:fails" in await host.call("clock.handlers")
        await host.call("clock.cancel", {"id": task_id})
        assert "task:fails" not in await host.call("clock.handlers")
        assert "fails" not in await host.call("clock.tasks")
        with pytest.raises(ToolError, match="has no task") as caught:
            await host.call("clock.cancel", {"id": task_id})
        assert caught.value.code == "unknown_task"


async def test_a_handler_that_ends_the_process_fails_and_the_others_go_on(folder: Path) -> None:
    log = Log()
    async with hosting(folder, log) as host:
        await host.call("clock.wait", {"name": "tick", "count": 1})
        await host.call("clock.schedule", {"name": "crashes", "delay": 0.02, "once": True})
        assert "code 7" in await log.until("task 'crashes' failed")
        await log.until("starting again")
        await host.call("clock.wait", {"name": "tick", "count": 2})
        assert host.plugin("clock").restarts == 1
        assert [task.name for task in host.scheduler.tasks("clock")][:1] == ["tick"]


async def test_after_a_kill_the_runs_go_to_the_new_worker(folder: Path) -> None:
    log = Log()
    async with hosting(folder, log) as host:
        await host.call("clock.schedule", {"name": "reminder", "delay": 0.5})
        kill(host)
        await log.until("starting again")
        # Scheduled by a tool, and declared by name: nothing scheduled it again.
        await host.call("clock.wait", {"name": "reminder", "count": 1})
        await host.call("clock.wait", {"name": "tick", "count": 2})
        assert host.plugin("clock").restarts == 1


async def test_a_task_without_a_handler_in_the_new_worker_is_dropped(folder: Path) -> None:
    log = Log()
    async with hosting(folder, log) as host:
        await host.call("clock.schedule", {"name": "fails", "delay": 0.3})
        kill(host)
        line = await log.until("task 'fails' is dropped")
        assert "declare its handler with @plugin.task" in line
        assert "fails" not in [task.name for task in host.scheduler.tasks("clock")]


async def test_stopping_the_plugin_ends_its_tasks_even_in_the_middle_of_a_run(
    folder: Path,
) -> None:
    async with hosting(folder) as host:
        await host.call("clock.schedule", {"name": "slow", "delay": 0.02})
        await host.call("clock.wait", {"name": "slow began", "count": 1})
        await host.plugin("clock").stop()
        assert host.scheduler.tasks("clock") == []
        assert host.scheduler._agenda.is_idle


async def test_a_disabled_plugins_tasks_do_not_run_and_go_on_after(folder: Path) -> None:
    async with hosting(folder) as host:
        await host.call("clock.wait", {"name": "tick", "count": 1})
        plugin = host.plugin("clock")
        await plugin.disable()
        with anyio.fail_after(30):
            while host.scheduler.tasks("clock")[0].skipped < 3:
                await anyio.lowlevel.checkpoint()
        await plugin.enable()
        runs = host.scheduler.tasks("clock")[0].runs
        await host.call("clock.wait", {"name": "tick", "count": runs + 2})


@pytest.mark.parametrize(
    ("name", "when", "answer"),
    [
        ("never", "0 0 30 2 *", "invalid_params: .*day-of-month"),
        ("never", "0 0 */31 * MON#5", "invalid_params: .*never fires"),
        ("a name", 60.0, "invalid_params: "),
        ("often", 0.001, "invalid_params: .*no less than 10 ms"),
        ("negative", -1.0, "invalid_params: "),
    ],
)
async def test_bad_input_gets_a_clear_error(
    folder: Path, name: str, when: str | float, answer: str
) -> None:
    async with hosting(folder) as host:
        refusal = await host.call("clock.refused", {"name": name, "when": when})
        assert re.match(answer, refusal), refusal


async def test_a_plugin_without_the_permission_does_not_load(make_plugin: MakePlugin) -> None:
    folder = make_plugin("clock", CODE, permissions=["tools:register"])
    async with hosting(folder) as host:
        assert "scheduler:write" in host.problems["clock"]


METHODS = """
from plughost_sdk import Plugin, task, tool

class Clock(Plugin):
    def __init__(self):
        self.runs = 0

    @task(every=0.02, name="work", immediately=True)
    async def run(self):
        self.runs += 1

    @tool
    async def count(self) -> int:
        return self.runs
"""


async def test_methods_of_a_subclass_are_tasks_too(make_plugin: MakePlugin) -> None:
    folder = make_plugin("clock", METHODS, permissions=PERMISSIONS)
    async with hosting(folder) as host:
        with anyio.fail_after(30):
            while await host.call("clock.count") < 3:
                pass
        assert [task.name for task in host.scheduler.tasks("clock")] == ["work"]
