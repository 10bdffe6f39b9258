"""The host service `scheduler`: tasks that run again and again, in the plugin's worker.

The schedules live here, so they outlive a worker; a run is a call of the handler `task:NAME`.
"""

import random
import time
from collections.abc import Awaitable, Callable

import anyio.to_thread

from plughost.errors import HostMisuse, NotRunning, Overloaded, Superseded
from plughost.reactor import Reactor
from plughost.rpc.standing import Standing
from plughost.service_config import SchedulerConfig
from plughost.services.router import Request, ServiceMethod
from plughost.services.scheduler.agenda import Agenda, Appointment
from plughost.services.scheduler.runner import TaskPlugins, TaskRunner
from plughost.services.scheduler.schedule import (
    BadSchedule,
    Due,
    Every,
    Schedule,
    due_runs,
    parse_cron,
    time_zone,
)
from plughost.services.scheduler.tasks import (
    CancelTask,
    Lane,
    ScheduledTask,
    ScheduleTask,
    TaskOutcome,
    TaskRuns,
)
from plughost.services.service import HostService
from plughost.units import format_seconds
from plughost_protocol.scheduler import TaskInfo

__all__ = ["SchedulerService"]


class SchedulerService(HostService):
    """The tasks of all plugins."""

    def __init__(
        self,
        plugins: TaskPlugins,
        reactor: Reactor,
        config: SchedulerConfig,
        *,
        on_executed: Callable[[TaskOutcome], object] = lambda _: None,
        wall: Callable[[], float] = time.time,
        vary: Callable[[], float] = random.random,
    ) -> None:
        """`on_executed` is called after each run. `wall` gives seconds since the epoch."""
        self._plugins = plugins
        self._reactor = reactor
        self._config = config
        self._wall = wall
        self._vary = vary
        self._lanes: dict[str, Lane] = {}
        self._agenda: Agenda[ScheduledTask] = Agenda(reactor, wall, self._on_due, self._on_set_back)
        self._runner = TaskRunner(
            plugins, reactor, wall, config.running_at_once, self._drop, on_executed
        )
        self._last_number = 0
        self.methods = (
            ServiceMethod(
                "scheduler.schedule",
                "scheduler:write",
                ScheduleTask,
                self._on_schedule,
                registers=True,
                by_name=True,
            ),
            ServiceMethod(
                "scheduler.cancel",
                "scheduler:write",
                CancelTask,
                self._on_cancel,
                withdraws=True,
                by_name=True,
            ),
            ServiceMethod("scheduler.list", "scheduler:read", None, self._on_list),
        )

    # Its part in the life of host and plugins

    async def open(self) -> None:
        try:
            await anyio.to_thread.run_sync(time_zone, self._config.timezone)
        except BadSchedule as exc:
            raise HostMisuse(f"SchedulerConfig.timezone: {exc}") from exc

    async def aclose(self) -> None:
        for plugin_id in list(self._lanes):
            self.on_unloaded(plugin_id)
        self._agenda.close()

    def on_loading(self, plugin_id: str) -> None:
        lane = self._lanes.setdefault(plugin_id, Lane(plugin_id))
        lane.generation += 1
        lane.loading = {} if self._plugins.active(plugin_id) else None

    def on_active(self, plugin_id: str) -> None:
        # What an earlier worker scheduled stays: handlers are found by name, and a task that the
        # new worker does not know is dropped at its first run.
        if lane := self._lanes.get(plugin_id):
            new, lane.loading = lane.loading or {}, None
            for task in new.values():
                self._take_over(lane, task)
            self._runner.pump(lane)

    def on_still_asleep(self, plugin_id: str) -> None:
        if lane := self._lanes.get(plugin_id):
            self._runner.pump(lane)

    def on_new_version(self, plugin_id: str) -> None:
        if lane := self._lanes.get(plugin_id):
            for task in list(lane.tasks.values()):
                if task.generation != lane.generation:
                    self._drop(task)

    def on_abandoned(self, plugin_id: str) -> None:
        lane = self._lanes.get(plugin_id)
        if lane is not None and lane.loading is not None:
            lane.loading = None
            lane.generation -= 1

    def on_unloaded(self, plugin_id: str) -> None:
        if lane := self._lanes.pop(plugin_id, None):
            for task in list(lane.tasks.values()):
                self._drop(task)

    # For the application and the operator

    def tasks(self, plugin_id: str) -> list[TaskInfo]:
        """The tasks of a plugin, in the order in which they were scheduled."""
        lane = self._lanes.get(plugin_id)
        return [] if lane is None else [self._info(task) for task in lane.tasks.values()]

    async def run_now(self, plugin_id: str, name: str) -> TaskOutcome:
        """Run a task beside its schedule, and wait for the outcome.

        Waits for a worker that restarts. Raises `NoSuchTask`, `TaskRuns`.
        """
        lane = self._lanes.get(plugin_id) or Lane(plugin_id)
        task = lane.tasks.get(name)
        if task is None:
            raise lane.no_such(name)
        if lane.busy[name] and not task.asked.overlap:
            raise TaskRuns(plugin_id, name)
        return await self._runner.run_now(task)

    # The table

    def _on_schedule(self, request: Request, params: ScheduleTask) -> str | Awaitable[str]:
        if params.every is not None and params.cron is None:
            return self._put(request, params, Every(params.every))
        if params.cron is not None and params.every is None:
            return self._schedule_cron(request, params, params.cron)
        raise BadSchedule(f"task {params.name!r} needs a delay or a cron expression, and one")

    async def _schedule_cron(self, request: Request, params: ScheduleTask, cron: str) -> str:
        zone = self._config.timezone if params.timezone is None else params.timezone
        # In a thread: one that never fires is looked for over 50 years.
        schedule = await anyio.to_thread.run_sync(parse_cron, cron, zone, self._wall())
        return self._put(request, params, schedule)

    def _on_cancel(self, request: Request, params: CancelTask) -> None:
        lane = self._lanes.get(request.plugin_id) or Lane(request.plugin_id)
        task = lane.find(params.id)
        if lane.loading is None or not request.is_loading:
            self._drop(task)
        elif lane.loading.pop(task.name, None) is None:
            raise lane.no_such(params.id)  # it is the other worker's

    def _on_list(self, request: Request, _: None) -> list[TaskInfo]:
        return self.tasks(request.plugin_id)

    def _check(self, asked: ScheduleTask, schedule: Schedule) -> None:
        """Raises `BadSchedule` for one that this host does not allow."""
        gap = format_seconds(schedule.smallest_gap)
        if schedule.smallest_gap < (least := self._config.smallest_interval):
            raise BadSchedule(
                f"task {asked.name!r} would run every {gap}, and this host allows no less than "
                f"{format_seconds(least)} between runs"
            )
        if asked.jitter is not None and asked.jitter > schedule.smallest_gap:
            raise BadSchedule(
                f"the jitter of task {asked.name!r} is {format_seconds(asked.jitter)}, longer "
                f"than the {gap} between its runs"
            )

    def _put(self, request: Request, asked: ScheduleTask, schedule: Schedule) -> str:
        """Put a task on the agenda, in place of one of the same name; its id."""
        self._check(asked, schedule)
        lane = self._lanes.get(request.plugin_id)
        # Its worker may have died since it asked, and with it the handler.
        if lane is None or request.worker.exit is not None:
            raise NotRunning(request.plugin_id, "no longer loaded")
        if request.worker.standing is Standing.OUTGOING:
            raise Superseded(request.plugin_id, f"task {asked.name}")
        loading = request.is_loading
        place = lane.place_of(loading=loading)
        # While another worker is loaded, the one that serves is of the generation before.
        generation = lane.generation - (lane.loading is not None and not loading)
        if asked.name not in place and len(place) >= self._config.tasks:
            raise Overloaded(lane.plugin_id, "scheduled tasks", self._config.tasks)
        former = lane.tasks.get(asked.name)
        self._last_number += 1
        task_id = f"{asked.name}#{self._last_number}"
        if former is not None and former.asked == asked and former.generation != generation:
            # A new worker asks for what there is: neither a crash nor a swap puts the next run off.
            task_id = former.id
        task = ScheduledTask(lane, task_id, asked, schedule, generation)
        if place is lane.tasks:
            self._take_over(lane, task)
            self._runner.pump(lane)
        else:
            place[asked.name] = task
        return task_id

    def _take_over(self, lane: Lane, task: ScheduledTask) -> None:
        """Put a task on the agenda, in place of one of the same name that is not the same."""
        asked = task.asked
        former = lane.tasks.get(asked.name)
        if former is not None:
            if former.id == task.id:
                former.generation = task.generation
                return
            self._drop(former)
        lane.tasks[asked.name] = task
        if asked.immediately:
            task.waiting = 1
        if not (asked.immediately and asked.once):
            self._plan(task, task.schedule.after(self._agenda.now(task.by_wall)))
        lane.enqueue(task)

    # Going off

    def _plan(self, task: ScheduledTask, due: float | None) -> None:
        if task.appointment is not None:
            self._agenda.cancel(task.appointment)
        task.due, task.appointment = due, None
        if due is not None:
            jitter = self._config.jitter if task.asked.jitter is None else task.asked.jitter
            task.shift = self._vary() * min(jitter, task.schedule.smallest_gap)
            task.appointment = self._agenda.add(due + task.shift, task.by_wall, task)

    def _on_due(self, appointment: Appointment[ScheduledTask]) -> None:
        task = appointment.item
        if task.due is None:
            return
        now = self._agenda.now(task.by_wall) - task.shift
        due = due_runs(task.schedule, task.due, now, self._config.missed_runs + 1)
        task.appointment = None
        self._plan(task, None if task.asked.once else due.next)
        self._count_in(task, due, late=now - due.last > self._config.late_after)
        if not task.waiting and task.due is None and not task.lane.busy[task.name]:
            self._runner.tell(
                task, "missed its last run and is dropped, as it skips what it missed"
            )
            self._drop(task)
        self._runner.pump(task.lane)

    def _count_in(self, task: ScheduledTask, due: Due, *, late: bool) -> None:
        """Let the runs that are due wait for their turn, as far as the task's policies say."""
        lane = task.lane
        runs = 1 if task.asked.once else due.runs
        in_time = not late and self._plugins.wake(lane.plugin_id, "schedule")
        missed = runs - in_time
        wanted = 0
        if in_time:
            most = self._config.overlaps if task.asked.overlap else 1
            wanted = int(task.waiting + lane.busy[task.name] < most)
        # A disabled plugin's runs are not wanted; what runs only once is not lost all the same.
        if task.asked.once or not self._plugins.disabled(lane.plugin_id):
            if task.asked.missed == "run_all":
                wanted += min(missed, max(self._config.missed_runs - task.waiting, 0))
            elif task.asked.missed == "run_once" and missed and not in_time:
                wanted = int(not task.waiting)
        task.waiting += wanted
        task.skipped += runs - wanted
        lane.enqueue(task)

    def _on_set_back(self) -> None:
        """The wall clock was set back: what it was wrong about is planned anew."""
        for lane in self._lanes.values():
            for task in lane.tasks.values():
                if task.by_wall and task.due is not None:
                    self._plan(task, task.schedule.after(self._wall()))

    # One task

    def _drop(self, task: ScheduledTask) -> None:
        if task.appointment is not None:
            self._agenda.cancel(task.appointment)
            task.appointment = None
        task.due = None
        task.lane.drop(task)

    def _info(self, task: ScheduledTask) -> TaskInfo:
        next_run = None if task.due is None else task.due + task.shift
        if next_run is not None and not task.by_wall:
            next_run += self._wall() - self._reactor.now()
        return TaskInfo(
            id=task.id,
            name=task.name,
            schedule=task.schedule.text,
            next_run=next_run,
            last_run=task.last_run,
            last_error=task.last_error,
            runs=task.runs,
            failures=task.failures,
            skipped=task.skipped,
            running=task.lane.busy[task.name],
            waiting=task.waiting,
        )
