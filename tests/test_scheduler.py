"""The tasks of plugins, with clocks of our own; on asyncio and on trio."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import msgspec
import pytest
from anyio.abc import TaskGroup

from plughost.errors import (
    CallTimeout,
    HostMisuse,
    NotRunning,
    Overloaded,
    PlughostError,
    ToolError,
    WorkerDied,
)
from plughost.exits import Cause, WorkerExit
from plughost.reactor import Reactor
from plughost.rpc.standing import Standing
from plughost.service_config import SchedulerConfig
from plughost.services.router import Request
from plughost.services.scheduler.schedule import BadSchedule
from plughost.services.scheduler.service import SchedulerService
from plughost.services.scheduler.tasks import (
    NoSuchTask,
    ScheduleTask,
    TaskOutcome,
    TaskRuns,
)
from plughost_protocol.scheduler import TaskInfo

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"]),
]

NINE = 1_767_258_000.0  # 2026-01-01 09:00:00 UTC


@dataclass(eq=False)
class Timer:
    when: float
    callback: Callable[[], object]
    timers: list["Timer"] = field(repr=False)

    def cancel(self) -> None:
        if self in self.timers:
            self.timers.remove(self)


class Clocks:
    """The part of a reactor that the scheduler uses, and a wall clock that can be set."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.monotonic = 100.0
        self.wall = NINE
        self.timers: list[Timer] = []
        self._tasks = tasks

    def now(self) -> float:
        return self.monotonic

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(when, callback, self.timers)
        self.timers.append(timer)
        return timer

    def spawn(self, function: Callable[..., Any], *args: object) -> None:
        self._tasks.start_soon(function, *args)

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and timers go off when they are due."""
        end = self.monotonic + seconds
        await anyio.wait_all_tasks_blocked()
        while due := [timer for timer in self.timers if timer.when <= end]:
            first = min(due, key=lambda timer: timer.when)
            self._pass(max(first.when - self.monotonic, 0.0))
            first.cancel()
            first.callback()
            await anyio.wait_all_tasks_blocked()
        self._pass(end - self.monotonic)

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: only the wall clock goes on."""
        self.wall += seconds

    def stall(self, seconds: float) -> None:
        """The loop is held up: no timer goes off."""
        self._pass(seconds)

    def _pass(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds


class Plugins:
    """What the scheduler calls; a handler waits where it is told to hold."""

    def __init__(self) -> None:
        self.down: set[str] = set()
        self.off: set[str] = set()
        self.begun: list[str] = []
        self.logged: list[str] = []
        self.errors: dict[str, Exception] = {}
        self.timeouts: list[float | None] = []
        self._held: dict[str, anyio.Event] = {}
        self.most = self.now = 0

    def active(self, plugin_id: str) -> bool:
        return plugin_id not in self.down | self.off

    def wake(self, plugin_id: str, by: str) -> bool:
        assert by == "schedule"
        return self.active(plugin_id)

    def disabled(self, plugin_id: str) -> bool:
        return plugin_id in self.off

    def log(self, plugin_id: str, level: str, message: str) -> None:
        self.logged.append(f"{plugin_id} {level}: {message}")

    def hold(self, name: str) -> None:
        self._held[name] = anyio.Event()

    def release(self, name: str) -> None:
        self._held.pop(name).set()

    async def call(
        self, plugin_id: str, method: str, params: object, *, wait: bool = True, **options: Any
    ) -> None:
        if not self.active(plugin_id):
            raise NotRunning(plugin_id, "restarting")
        name = method.removeprefix("task:")
        self.begun.append(name)
        self.timeouts.append(options["timeout"])
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if name in self._held:
                await self._held[name].wait()
            if error := self.errors.get(name):
                raise error
        finally:
            self.now -= 1


@dataclass
class Rig:
    clocks: Clocks
    plugins: Plugins
    service: SchedulerService
    outcomes: list[TaskOutcome]

    async def ask(self, method: str, params: object, plugin: str = "a") -> Any:
        table = {row.name: row for row in self.service.methods}[f"scheduler.{method}"]
        decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=table.params)
        worker: Any = type("Worker", (), {"exit": None, "standing": Standing.SERVING})
        request = Request(plugin, cast("Any", None), worker, cast("Any", None), None)
        answer = table.handler(request, decoded)
        return await answer if isinstance(answer, Awaitable) else answer

    async def add(self, name: str, when: float | str, plugin: str = "a", **options: Any) -> str:
        kind = {"cron": when} if isinstance(when, str) else {"every": when}
        task_id: str = await self.ask("schedule", {"name": name, **kind, **options}, plugin)
        return task_id

    def restart(self, plugin: str = "a") -> None:
        """A new worker is loaded in place of the old one."""
        self.service.on_loading(plugin)
        self.plugins.down.discard(plugin)
        self.service.on_active(plugin)

    def task(self, name: str, plugin: str = "a") -> TaskInfo:
        return next(task for task in self.service.tasks(plugin) if task.name == name)


@asynccontextmanager
async def rig(vary: float = 0.5, **settings: Any) -> AsyncIterator[Rig]:
    async with anyio.create_task_group() as tasks:
        clocks, plugins = Clocks(tasks), Plugins()
        outcomes: list[TaskOutcome] = []
        service = SchedulerService(
            plugins,
            cast("Reactor", clocks),
            SchedulerConfig(**settings),
            on_executed=outcomes.append,
            wall=lambda: clocks.wall,
            vary=lambda: vary,
        )
        await service.open()
        for plugin in ("a", "b"):
            service.on_loading(plugin)
            service.on_active(plugin)
        yield Rig(clocks, plugins, service, outcomes)
        await service.aclose()
        assert clocks.timers == []
        tasks.cancel_scope.cancel()


# When runs happen


async def test_a_delay_repeats() -> None:
    async with rig() as r:
        await r.add("refresh", 60.0)
        await r.clocks.sleep(59)
        assert r.plugins.begun == []
        await r.clocks.sleep(122)
        assert r.plugins.begun == ["refresh"] * 3
        assert [outcome.error for outcome in r.outcomes] == [""] * 3
        assert r.task("refresh").next_run == r.clocks.wall + 59


async def test_a_delay_that_is_given_once_runs_once() -> None:
    async with rig() as r:
        await r.add("remind", 10.0, once=True)
        await r.clocks.sleep(100)
        assert r.plugins.begun == ["remind"]
        assert r.service.tasks("a") == []
        assert r.clocks.timers == []


async def test_cron_runs_by_the_wall_clock_in_its_zone() -> None:
    async with rig() as r:
        await r.add("daily", "30 11 * * *", timezone="Europe/Oslo")
        assert r.task("daily").next_run == NINE + 90 * 60
        await r.clocks.sleep(90 * 60 - 1)
        assert r.plugins.begun == []
        await r.clocks.sleep(1)
        assert r.plugins.begun == ["daily"]
        assert r.task("daily").schedule == "30 11 * * * (Europe/Oslo)"


async def test_a_task_that_begins_immediately_runs_at_once_and_then_by_its_schedule() -> None:
    async with rig() as r:
        await r.add("refresh", 60.0, immediately=True)
        await r.clocks.sleep(0)
        assert r.plugins.begun == ["refresh"]
        await r.clocks.sleep(60)
        assert r.plugins.begun == ["refresh"] * 2


async def test_an_immediate_run_waits_until_the_plugin_is_loaded() -> None:
    async with rig() as r:
        r.plugins.down.add("a")
        await r.add("refresh", 60.0, immediately=True, missed="skip")
        await r.clocks.sleep(1)
        assert r.plugins.begun == []
        r.restart()
        await r.clocks.sleep(0)
        assert r.plugins.begun == ["refresh"]


async def test_jitter_puts_a_run_off_and_does_not_add_up() -> None:
    async with rig(vary=0.5) as r:
        await r.add("refresh", 60.0, jitter=20.0)
        started = []
        for _ in range(3):
            await r.clocks.sleep(60)
            await r.clocks.sleep(10)
            started.append(r.outcomes[-1].started - NINE)
            await r.clocks.sleep(-10)
        assert started == [70.0, 130.0, 190.0]


async def test_the_wall_clock_is_looked_at_each_minute() -> None:
    async with rig() as r:
        await r.add("daily", "0 12 * * *")
        r.clocks.suspend(3 * 3600 - 5)  # five seconds before, and the monotonic clock stood still
        await r.clocks.sleep(60)
        assert r.plugins.begun == ["daily"]


async def test_a_clock_that_is_set_back_keeps_no_task_from_running() -> None:
    async with rig() as r:
        await r.add("minutely", "* * * * *")
        await r.clocks.sleep(60)
        r.clocks.wall -= 3600
        await r.clocks.sleep(120)
        assert len(r.plugins.begun) >= 2


async def test_one_timer_serves_all_tasks() -> None:
    async with rig() as r:
        for number in range(50):
            await r.add(f"t{number}", 60.0 + number)
            await r.add(f"c{number}", f"{number} * * * *")
        assert len(r.clocks.timers) == 1


# Overlap and turns


async def test_a_run_that_is_due_while_the_former_still_runs_is_skipped_and_counted() -> None:
    async with rig() as r:
        await r.add("slow", 10.0)
        r.plugins.hold("slow")
        await r.clocks.sleep(35)
        assert r.plugins.begun == ["slow"]
        assert r.task("slow").skipped == 2
        assert r.task("slow").running == 1
        r.plugins.release("slow")
        await r.clocks.sleep(5)
        assert r.plugins.begun == ["slow"] * 2


async def test_runs_overlap_where_asked_up_to_the_bound() -> None:
    async with rig(overlaps=3, running_at_once=10) as r:
        await r.add("slow", 10.0, overlap=True)
        r.plugins.hold("slow")
        await r.clocks.sleep(60)
        assert r.plugins.most == 3
        assert r.task("slow").skipped == 3


async def test_a_task_that_is_replaced_as_it_runs_does_not_overlap_with_itself() -> None:
    async with rig() as r:
        await r.add("slow", 10.0)
        r.plugins.hold("slow")
        await r.clocks.sleep(10)
        await r.add("slow", 5.0)
        await r.clocks.sleep(12)
        assert r.plugins.most == 1
        assert r.task("slow").skipped == 2
        r.plugins.release("slow")
        await r.clocks.sleep(3)
        assert r.plugins.begun == ["slow"] * 2


async def test_a_thousand_tasks_at_once_wait_their_turn_in_order() -> None:
    async with rig(tasks=1000, running_at_once=4) as r:
        names = [f"t{number}" for number in range(1000)]
        for name in names:
            await r.add(name, 60.0)
            r.plugins.hold(name)
        await r.add("other", 60.0, plugin="b")
        await r.clocks.sleep(60)
        assert sorted(r.plugins.begun) == sorted([*names[:4], "other"])
        for name in names:
            r.plugins.release(name)
        await r.clocks.sleep(0)
        r.plugins.begun.remove("other")
        assert len(r.plugins.begun) == 1000
        # Trio begins tasks that were spawned in one turn in any order.
        assert all(abs(int(name[1:]) - i) < 8 for i, name in enumerate(r.plugins.begun))
        assert r.plugins.most == 5


# Missed runs


@pytest.mark.parametrize(
    ("missed", "made", "skipped"), [("skip", 0, 3), ("run_once", 1, 2), ("run_all", 3, 0)]
)
async def test_what_was_due_while_the_worker_was_down_follows_the_policy(
    missed: str, made: int, skipped: int
) -> None:
    async with rig() as r:
        await r.add("refresh", 10.0, missed=missed)
        r.plugins.down.add("a")
        await r.clocks.sleep(35)
        assert r.plugins.begun == []
        r.restart()
        await r.clocks.sleep(1)
        assert r.plugins.begun == ["refresh"] * made
        assert r.task("refresh").skipped == skipped


@pytest.mark.parametrize(
    ("missed", "made", "skipped"), [("skip", 0, 5), ("run_once", 1, 4), ("run_all", 5, 0)]
)
async def test_what_was_due_while_the_machine_slept_follows_the_policy(
    missed: str, made: int, skipped: int
) -> None:
    async with rig() as r:
        await r.add("hourly", "0 * * * *", missed=missed)
        r.clocks.suspend(5 * 3600 + 600)
        await r.clocks.sleep(60)
        assert r.plugins.begun == ["hourly"] * made
        assert r.task("hourly").skipped == skipped


async def test_a_loop_that_was_held_up_makes_the_last_run_in_time_and_the_others_missed() -> None:
    async with rig() as r:
        await r.add("refresh", 10.0, missed="skip")
        r.clocks.stall(45)
        await r.clocks.sleep(0)
        assert r.plugins.begun == ["refresh"]
        assert r.task("refresh").skipped == 3
        assert r.task("refresh").next_run == r.clocks.wall + 5


async def test_no_more_than_the_bound_is_made_up_for() -> None:
    async with rig(missed_runs=7) as r:
        await r.add("refresh", 10.0, missed="run_all")
        r.plugins.down.add("a")
        await r.clocks.sleep(1000)
        r.restart()
        await r.clocks.sleep(1)
        assert r.plugins.begun == ["refresh"] * 7


async def test_a_disabled_plugins_runs_are_skipped_whatever_the_policy() -> None:
    async with rig() as r:
        await r.add("refresh", 10.0, missed="run_all")
        await r.add("remind", 15.0, once=True)
        r.plugins.off.add("a")
        await r.clocks.sleep(35)
        r.plugins.off.clear()
        r.service.on_active("a")
        await r.clocks.sleep(1)
        assert r.plugins.begun == ["remind"]  # what runs once is late, not lost
        assert r.task("refresh").skipped == 3
        await r.clocks.sleep(5)
        assert r.plugins.begun == ["remind", "refresh"]


async def test_a_single_run_that_was_missed_and_is_to_be_skipped_is_dropped_with_a_word() -> None:
    async with rig() as r:
        await r.add("remind", 10.0, once=True, missed="skip")
        r.plugins.down.add("a")
        await r.clocks.sleep(20)
        assert r.service.tasks("a") == []
        assert "'remind' missed its last run" in r.plugins.logged[0]


# Restarts


async def test_schedules_survive_the_worker_and_its_crash_does_not_put_them_off() -> None:
    async with rig() as r:
        first = await r.add("hourly", 3600.0)
        await r.add("by-hand", 3600.0)
        for _ in range(3):
            await r.clocks.sleep(1000)
            r.plugins.down.add("a")
            r.service.on_loading("a")
            assert await r.add("hourly", 3600.0) == first  # on_load runs again
            r.plugins.down.clear()
            r.service.on_active("a")
        await r.clocks.sleep(600)
        assert sorted(r.plugins.begun) == ["by-hand", "hourly"]


async def test_scheduling_a_name_again_in_the_same_worker_begins_anew() -> None:
    async with rig() as r:
        first = await r.add("flush", 10.0, once=True)
        await r.clocks.sleep(8)
        second = await r.add("flush", 10.0, once=True)
        assert first != second
        await r.clocks.sleep(8)
        assert r.plugins.begun == []
        await r.clocks.sleep(2)
        assert r.plugins.begun == ["flush"]


async def test_a_new_workers_task_of_another_schedule_replaces_the_old() -> None:
    async with rig() as r:
        await r.add("refresh", 3600.0)
        r.service.on_loading("a")
        await r.add("refresh", 10.0)
        r.service.on_active("a")
        await r.clocks.sleep(10)
        assert r.plugins.begun == ["refresh"]


async def test_a_task_that_the_new_worker_does_not_know_is_dropped_with_the_remedy() -> None:
    async with rig() as r:
        await r.add("lost", 10.0)
        r.plugins.errors["lost"] = ToolError("a (task lost)", "unknown_method", "no method")
        await r.clocks.sleep(30)
        assert r.plugins.begun == ["lost"]
        assert r.service.tasks("a") == []
        assert "Schedule it in on_load" in r.plugins.logged[0]


async def test_a_handler_that_calls_an_unknown_tool_keeps_its_task() -> None:
    async with rig() as r:
        await r.add("calls", 10.0)
        r.plugins.errors["calls"] = ToolError("calls", "unknown_method", "no tool", "HostError")
        await r.clocks.sleep(30)
        assert r.task("calls").failures == 3


async def test_a_run_that_never_reached_the_dead_worker_is_made_by_the_next() -> None:
    async with rig() as r:
        await r.add("refresh", 10.0)
        never_sent = WorkerDied("a", WorkerExit(Cause.SIGNALLED, code=-9), outcome_unknown=False)
        r.plugins.errors["refresh"] = never_sent
        r.plugins.hold("refresh")
        await r.clocks.sleep(10)
        r.plugins.down.add("a")
        r.plugins.release("refresh")
        await r.clocks.sleep(1)
        assert r.outcomes == []
        r.plugins.errors.clear()
        r.restart()
        await r.clocks.sleep(1)
        assert [outcome.error for outcome in r.outcomes] == [""]


# Ends


async def test_a_cancelled_task_runs_no_more() -> None:
    async with rig() as r:
        task_id = await r.add("refresh", 10.0)
        await r.clocks.sleep(10)
        await r.ask("cancel", {"id": task_id})
        assert r.clocks.timers == []
        await r.clocks.sleep(100)
        assert r.plugins.begun == ["refresh"]


async def test_a_task_can_be_cancelled_while_it_runs_or_waits() -> None:
    async with rig(running_at_once=1) as r:
        running = await r.add("running", 10.0)
        waiting = await r.add("waiting", 10.0)
        r.plugins.hold("running")
        await r.clocks.sleep(10)
        await r.ask("cancel", {"id": running})
        await r.ask("cancel", {"id": waiting})
        r.plugins.release("running")
        await r.clocks.sleep(100)
        assert r.plugins.begun == ["running"]
        assert [outcome.name for outcome in r.outcomes] == ["running"]


async def test_unloading_leaves_no_task_and_no_timer() -> None:
    async with rig() as r:
        await r.add("refresh", 10.0)
        await r.add("daily", "0 9 * * *")
        r.service.on_unloaded("a")
        assert r.clocks.timers == []
        assert r.service.tasks("a") == []
        with pytest.raises(NotRunning):
            await r.add("late", 10.0)


async def test_a_heap_of_cancelled_appointments_is_cleared() -> None:
    async with rig() as r:
        await r.add("stays", 1e6)
        for _ in range(1000):
            await r.add("again", 1e6)
        assert sum(len(heap) for heap in r.service._agenda._heaps.values()) < 200


async def test_failures_are_counted_logged_and_told() -> None:
    async with rig() as r:
        await r.add("bad", 10.0, timeout=3.0)
        errors: list[PlughostError] = [
            CallTimeout("a (task bad)", 3.0),
            WorkerDied("a", WorkerExit(Cause.SIGNALLED, code=-9), outcome_unknown=True),
            ToolError("a (task bad)", "tool_error", "ValueError: \n" + "x" * 5000, "ValueError"),
        ]
        for error in errors:
            r.plugins.errors["bad"] = error
            await r.clocks.sleep(10)
        task = r.task("bad")
        assert (task.runs, task.failures) == (3, 3)
        assert r.plugins.timeouts == [3.0] * 3
        assert len(task.last_error) < 1100
        assert "\n" not in task.last_error
        assert [line.startswith("a error: task 'bad' failed: ") for line in r.plugins.logged] == [
            True
        ] * 3
        r.plugins.errors.clear()
        await r.clocks.sleep(10)
        assert r.task("bad").last_error == ""


# What is refused


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"every": 0.5}, "no less than 1 s"),
        ({"cron": "* * * * *", "every": 5.0}, "and one"),
        ({}, "and one"),
        ({"cron": "0 0 30 2 *"}, "day-of-month"),
        ({"cron": "0 0 */31 * MON#5"}, "never fires"),
        ({"cron": "0 9 * * *", "timezone": "Mars/Olympus"}, "there is no time zone"),
        ({"every": 60.0, "jitter": 61.0}, "longer than the 60 s"),
    ],
)
async def test_a_schedule_that_cannot_be_is_refused(asked: dict[str, Any], reason: str) -> None:
    async with rig() as r:
        with pytest.raises(BadSchedule, match=reason):
            await r.ask("schedule", {"name": "bad", **asked})
        assert r.service.tasks("a") == []


async def test_a_smallest_interval_holds_for_cron_too() -> None:
    async with rig(smallest_interval=60.0) as r:
        with pytest.raises(BadSchedule, match="every 1 s, and this host allows no less than 60 s"):
            await r.add("often", "* * * * * *")
        await r.add("allowed", "* * * * *")


@pytest.mark.parametrize(
    "asked",
    [
        {"every": float("nan")},
        {"every": float("inf")},
        {"every": -1.0},
        {"every": 1e300},
        {"name": "a b", "every": 1.0},
        {"name": "", "every": 1.0},
        {"name": "x" * 101, "every": 1.0},
        {"name": "x\n", "every": 1.0},
        {"cron": "* " * 200},
        {"every": 1.0, "jitter": -1.0},
        {"every": 1.0, "timeout": 0.0},
        {"every": 1.0, "missed": "sometimes"},
        {"every": 1.0, "plugin": "b"},
    ],
)
async def test_parameters_out_of_bounds_are_not_decoded(asked: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "ok"} | asked, ScheduleTask)


async def test_no_plugin_has_more_tasks_than_it_may() -> None:
    async with rig(tasks=3) as r:
        for name in ("x", "y", "z"):
            await r.add(name, 60.0)
        with pytest.raises(Overloaded, match="scheduled tasks up to its limit of 3"):
            await r.add("more", 60.0)
        await r.add("z", 30.0)
        await r.add("more", 60.0, plugin="b")


async def test_a_plugin_neither_sees_nor_cancels_anothers_tasks() -> None:
    async with rig() as r:
        theirs = await r.add("secret", 60.0, plugin="b")
        assert await r.ask("list", None) == []
        with pytest.raises(NoSuchTask, match="'a' has no task 'secret#1'; it has none"):
            await r.ask("cancel", {"id": theirs})
        assert len(r.service.tasks("b")) == 1


# The application


async def test_the_application_runs_a_task_now_and_gets_its_outcome() -> None:
    async with rig() as r:
        await r.add("hourly", 3600.0)
        outcome = await r.service.run_now("a", "hourly")
        assert (outcome.name, outcome.error) == ("hourly", "")
        assert r.task("hourly").runs == 1
        with pytest.raises(NoSuchTask):
            await r.service.run_now("a", "none")


async def test_it_does_not_run_a_task_beside_itself() -> None:
    async with rig() as r:
        await r.add("slow", 10.0)
        r.plugins.hold("slow")
        await r.clocks.sleep(10)
        with pytest.raises(TaskRuns, match="may not overlap"):
            await r.service.run_now("a", "slow")


async def test_a_default_time_zone_that_there_is_not_stops_the_host_at_start() -> None:
    async with anyio.create_task_group() as tasks:
        reactor = cast("Reactor", Clocks(tasks))
        service = SchedulerService(Plugins(), reactor, SchedulerConfig(timezone="Mars/Olympus"))
        with pytest.raises(HostMisuse, match=r"SchedulerConfig.timezone.*Mars"):
            await service.open()


async def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(HostMisuse, match="tasks must be more than 0"):
        SchedulerConfig(tasks=0)
