"""A plugin's scheduled tasks: what was asked for, what has become of it, and what waits."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from plughost.errors import PlughostError
from plughost.services.scheduler.agenda import Appointment
from plughost.services.scheduler.schedule import Schedule
from plughost.text import clean_line
from plughost_protocol import ErrorCode

__all__ = [
    "CancelTask",
    "Lane",
    "NoSuchTask",
    "ScheduleTask",
    "ScheduledTask",
    "TaskOutcome",
    "TaskRuns",
]

_YEAR: Final = 366 * 24 * 3600
_MAX_ERROR: Final = 1000  # characters of a failure's text that are kept

TaskName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9_.:-]*\Z", max_length=100)]
Seconds = Annotated[float, Meta(gt=0, le=10 * _YEAR)]


class ScheduleTask(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a plugin asks for: `every` so many seconds, or `cron`."""

    name: TaskName
    every: Seconds | None = None
    cron: Annotated[str, Meta(max_length=200)] | None = None
    timezone: Annotated[str, Meta(max_length=200)] | None = None
    overlap: bool = False
    missed: Literal["skip", "run_once", "run_all"] = "run_once"
    jitter: Annotated[float, Meta(ge=0, le=_YEAR)] | None = None
    immediately: bool = False
    timeout: Annotated[float, Meta(gt=0, le=_YEAR)] | None = None
    once: bool = False


class CancelTask(Struct, frozen=True, forbid_unknown_fields=True):
    """The id that `schedule` gave."""

    id: Annotated[str, Meta(max_length=200)]


@dataclass(frozen=True, slots=True)
class TaskOutcome:
    """One run, when it is over."""

    plugin_id: str
    task_id: str
    name: str
    started: float
    """Seconds since the epoch."""
    seconds: float
    error: str
    """Why it failed; empty where it went well."""


class NoSuchTask(PlughostError):
    """Raised when a plugin has no task with this id."""

    code = ErrorCode.UNKNOWN_TASK

    def __init__(self, plugin_id: str, task: str, known: list[str]) -> None:
        there = f"; there are: {', '.join(sorted(known)[:10])}" if known else "; it has none"
        super().__init__(
            f"plugin {plugin_id!r} has no task {clean_line(task)!r}{there}. A task's id is what "
            "schedule() returned, until it is cancelled, replaced or, once, has run"
        )
        self.plugin_id = plugin_id
        self.task = task


class TaskRuns(PlughostError):
    """Raised when a task that may not overlap is to be run while it runs."""

    code = ErrorCode.OVERLOADED

    def __init__(self, plugin_id: str, name: str) -> None:
        super().__init__(
            f"task {name!r} of plugin {plugin_id!r} is running, and may not overlap: wait for "
            "its end, or schedule it with overlap"
        )
        self.plugin_id = plugin_id
        self.name = name


@dataclass(slots=True, eq=False)
class ScheduledTask:
    """One task of a plugin."""

    lane: "Lane" = field(repr=False)
    id: str
    asked: ScheduleTask
    schedule: Schedule
    generation: int
    """Of the plugin's workers, in which it was last asked for."""
    due: float | None = None
    """The next moment of its schedule; None if there is none. Jitter not included."""
    shift: float = 0.0
    """Seconds of jitter that the next run is put off by."""
    appointment: Appointment["ScheduledTask"] | None = None
    waiting: int = 0
    queued: bool = False
    """Whether it stands in its lane's queue."""
    gone: bool = False
    """Whether it was cancelled or replaced, or is over."""
    runs: int = 0
    failures: int = 0
    skipped: int = 0
    last_run: float | None = None
    last_error: str = ""

    @property
    def name(self) -> str:
        return self.asked.name

    @property
    def by_wall(self) -> bool:
        """Whether its moments are on the wall clock."""
        return self.asked.cron is not None

    def ended(self, error: str) -> None:
        """A run is over; `error` is empty where it went well."""
        self.runs += 1
        self.failures += bool(error)
        self.last_error = clean_line(error[:_MAX_ERROR])


@dataclass(slots=True, eq=False)
class Lane:
    """The tasks of one plugin, and those of their runs that wait or are under way."""

    plugin_id: str
    generation: int = 0
    tasks: dict[str, ScheduledTask] = field(default_factory=dict)
    """By name."""
    queue: deque[ScheduledTask] = field(default_factory=deque)
    """Each stands here once at most, whatever the number of its runs that wait."""
    loading: dict[str, ScheduledTask] | None = None
    """What a worker has asked for that is loaded beside another one; None where there is none."""
    busy: Counter[str] = field(default_factory=Counter)
    """Runs under way, by the task's name: it outlives a task that is replaced as it runs."""

    def place_of(self, *, loading: bool) -> dict[str, ScheduledTask]:
        """The tasks, by name, that a worker which loads or serves adds to."""
        return self.loading if loading and self.loading is not None else self.tasks

    def find(self, task_id: str) -> ScheduledTask:
        """The task with this id. Raises `NoSuchTask`."""
        for task in [*self.tasks.values(), *(self.loading or {}).values()]:
            if task.id == task_id:
                return task
        raise self.no_such(task_id)

    def no_such(self, task: str) -> NoSuchTask:
        """The error for an id or a name that there is not."""
        return NoSuchTask(self.plugin_id, task, [task.id for task in self.tasks.values()])

    @property
    def has_work(self) -> bool:
        """Whether a run waits."""
        return any(task.waiting and not task.gone for task in self.queue)

    def enqueue(self, task: ScheduledTask) -> None:
        """Let it stand at the end of the queue, if a run of it waits and it does not yet."""
        if task.waiting and not task.queued and not task.gone:
            task.queued = True
            self.queue.append(task)

    def take(self) -> ScheduledTask | None:
        """The task whose run is next. Who cannot run now comes back when its former run ends."""
        while self.queue:
            task = self.queue.popleft()
            task.queued = False
            if task.gone or not task.waiting:
                continue
            if task.asked.overlap or not self.busy[task.name]:
                task.waiting -= 1
                return task
        return None

    def drop(self, task: ScheduledTask) -> None:
        """Forget a task. A run that is under way goes on."""
        task.gone = True
        task.waiting = 0
        if self.tasks.get(task.name) is task:
            del self.tasks[task.name]
