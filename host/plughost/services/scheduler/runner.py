"""Runs of tasks: so many of a plugin at once, the others in turn, and what follows from each."""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from plughost.errors import NotRunning, PlughostError, ToolError, WorkerDied
from plughost.reactor import Reactor
from plughost.services.plugins import PluginCaller
from plughost.services.scheduler.tasks import Lane, ScheduledTask, TaskOutcome
from plughost_protocol import ErrorCode

__all__ = ["TaskPlugins", "TaskRunner"]

_log: Final = logging.getLogger("plughost.services.scheduler.service")


class TaskPlugins(PluginCaller, Protocol):
    """The plugins, as the scheduler needs them."""

    def disabled(self, plugin_id: str) -> bool:
        """Whether someone has disabled the plugin."""

    def log(self, plugin_id: str, level: str, message: str) -> None:
        """Write into the plugin's log, within its rate."""


class TaskRunner:
    """Calls the handlers of tasks in their plugins' workers."""

    def __init__(
        self,
        plugins: TaskPlugins,
        reactor: Reactor,
        wall: Callable[[], float],
        at_once: int,
        drop: Callable[[ScheduledTask], None],
        on_executed: Callable[[TaskOutcome], object],
    ) -> None:
        """`drop` takes a task off the agenda that will not run again."""
        self._plugins = plugins
        self._reactor = reactor
        self._wall = wall
        self._at_once = at_once
        self._drop = drop
        self._on_executed = on_executed

    def pump(self, lane: Lane) -> None:
        """Begin the runs that wait, as far as there may be so many at once."""
        if not self._plugins.active(lane.plugin_id):
            if lane.has_work:
                self._plugins.wake(lane.plugin_id, "schedule")
            return
        while lane.busy.total() < self._at_once and (task := lane.take()):
            lane.busy[task.name] += 1
            lane.enqueue(task)
            self._reactor.spawn(self._run, task)

    async def run_now(self, task: ScheduledTask) -> TaskOutcome:
        """Run it whatever its turn, and wait for the outcome; for a worker that restarts, too."""
        task.lane.busy[task.name] += 1
        return await self._execute(task, wait=True)

    async def _run(self, task: ScheduledTask) -> None:
        try:
            await self._execute(task, wait=False)
        except (NotRunning, WorkerDied):  # it was not begun: its turn comes with the next worker
            if not task.gone:
                task.waiting += 1
                task.lane.enqueue(task)
                self.pump(task.lane)

    async def _execute(self, task: ScheduledTask, *, wait: bool) -> TaskOutcome:
        """One run, which its lane counts as under way. Raises where it could not be begun."""
        lane, name = task.lane, task.name
        began, started = self._reactor.now(), self._wall()
        error, known = "", True
        try:
            await self._plugins.call(
                lane.plugin_id,
                f"task:{name}",
                None,
                label=f"{lane.plugin_id} (task {name})",
                timeout=task.asked.timeout,
                wait=wait,
            )
        except NotRunning:
            raise
        except WorkerDied as exc:
            if not exc.outcome_unknown:
                raise
            error = str(exc)
        except PlughostError as exc:
            error = str(exc)
            # One that names no type is the worker's own; a handler's goes by its exception's.
            known = not (
                isinstance(exc, ToolError) and exc.code == ErrorCode.UNKNOWN_METHOD and not exc.type
            )
        except Exception:  # noqa: BLE001 - our bug, not the plugin's: the others go on
            _log.exception("task %s of plugin %s failed", name, lane.plugin_id)
            error = "the host failed at it; its log says why"
        finally:
            self._leave(task)
        task.last_run = started
        task.ended(error)
        self._judge(task, error, known=known)
        outcome = TaskOutcome(
            lane.plugin_id, task.id, name, started, self._reactor.now() - began, task.last_error
        )
        self._on_executed(outcome)
        return outcome

    def _leave(self, task: ScheduledTask) -> None:
        """A run is over: its place is free, and so is the task that may not overlap."""
        lane, name = task.lane, task.name
        lane.busy[name] -= 1
        if not lane.busy[name]:
            del lane.busy[name]
        if current := lane.tasks.get(name):
            lane.enqueue(current)
        self.pump(lane)

    def _judge(self, task: ScheduledTask, error: str, *, known: bool) -> None:
        """What follows from a run's end."""
        lane = task.lane
        if task.gone:
            return
        if not known:
            self.tell(
                task,
                "is dropped: the plugin's worker has no handler for it since it was restarted. "
                "Schedule it in on_load, or declare its handler with @plugin.task",
            )
            self._drop(task)
            return
        if error:
            self.tell(task, f"failed: {error}")
        if task.due is None and not task.waiting and not lane.busy[task.name]:
            self._drop(task)

    def tell(self, task: ScheduledTask, what: str) -> None:
        """Write into its plugin's log what became of it."""
        self._plugins.log(task.lane.plugin_id, "error", f"task {task.name!r} {what}")
