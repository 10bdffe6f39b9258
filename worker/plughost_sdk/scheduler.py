"""`api.scheduler`: functions that the host has run again and again."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import msgspec
from msgspec import Struct

from plughost_protocol.scheduler import TaskInfo

from .declarations import mark
from .errors import PluginMistake
from .link import HostLink, HostPart, PlainHandler

__all__ = ["Scheduler", "TaskInfo", "TaskOptions", "task", "task_options"]

TaskHandler: TypeAlias = Callable[[], Any]
When: TypeAlias = float | timedelta | str
Missed: TypeAlias = Literal["skip", "run_once", "run_all"]
F = TypeVar("F", bound=Callable[..., Any])

_METHOD: Final = "task:"

_Tasks: TypeAlias = list[TaskInfo]


class Scheduler(HostPart):
    """The plugin's tasks. They live in the host: a crash of the worker does not end them.

    A task's handler is found by the task's name. After a crash `on_load` schedules it again, or
    `@plugin.task` has declared it; a task without a handler is dropped at its first run. All
    tasks are cancelled when the plugin is unloaded.
    """

    def __init__(self, link: HostLink) -> None:
        super().__init__(link)
        self._declared: set[str] = set()

    async def schedule(
        self,
        name: str,
        when: When,
        handler: TaskHandler | None = None,
        *,
        timezone: str | None = None,
        overlap: bool = False,
        missed: Missed = "run_once",
        jitter: float | None = None,
        immediately: bool = False,
        timeout: float | None = None,
        once: bool = False,
    ) -> str:
        """Have a function run again and again; the task's id.

        `when` is a delay in seconds (or a `timedelta`), which repeats, or a cron expression. The
        handler takes no arguments, is async or blocking, and may be left out where `@plugin.task`
        has declared one of this name. A task of the same name is replaced. `docs/services/
        scheduler.md` tells of the options. Needs the permission `scheduler:write`; raises
        `HostError` with the code `invalid_params` for a schedule that cannot be, `overloaded`
        for too many tasks.
        """
        key = _METHOD + name
        handlers = self._link.handlers
        former = own = handlers.get(key)
        if handler is not None:
            handlers[key] = own = self._handler(key, handler, once=once)
        elif former is None:
            raise PluginMistake(
                f"task {name!r} has no handler: give one, or declare it with @plugin.task"
            )
        asked = {
            "name": name,
            **_when(name, when),
            "timezone": timezone,
            "overlap": overlap,
            "missed": missed,
            "jitter": jitter,
            "immediately": immediately,
            "timeout": timeout,
            "once": once,
        }
        try:
            task_id: str = await self._link.request("scheduler.schedule", asked)
        except BaseException:
            if handlers.get(key) is own is not former:
                del handlers[key]
                if former is not None:
                    handlers[key] = former
            raise
        return task_id

    async def cancel(self, task_id: str) -> None:
        """End a task; a run that is under way goes on. Needs the permission `scheduler:write`.

        Raises `HostError` with the code `unknown_task` where the plugin has none with this id.
        """
        name = task_id.rpartition("#")[0]
        key = _METHOD + name
        handler = self._link.handlers.get(key)
        await self._link.request("scheduler.cancel", {"id": task_id})
        # It may have been scheduled anew meanwhile.
        if name not in self._declared and self._link.handlers.get(key) is handler is not None:
            del self._link.handlers[key]

    async def list(self) -> _Tasks:
        """The plugin's tasks. Needs the permission `scheduler:read`."""
        return msgspec.convert(await self._link.request("scheduler.list", None), _Tasks)

    async def _declare(self, function: TaskHandler, options: "TaskOptions") -> None:
        """Register what `@plugin.task` stands on."""
        name = options.name or function.__name__
        key = _METHOD + name
        if name in self._declared:
            raise PluginMistake(f"task {name!r} is declared twice: give one of them a name=")
        self._declared.add(name)
        self._link.handlers[key] = self._handler(key, function)
        if options.when is not None:
            await self.schedule(name, options.when, **options.more)

    def _handler(self, key: str, function: TaskHandler, *, once: bool = False) -> PlainHandler:
        async def run(_: None) -> None:
            try:
                await self._link.run(function)
            finally:
                # A plugin that makes up a name for each of them would hold them all.
                if once and self._link.handlers.get(key) is handler:
                    del self._link.handlers[key]

        handler = PlainHandler(run, None)
        return handler


def _when(name: str, when: When) -> dict[str, Any]:
    if isinstance(when, str):
        return {"cron": when}
    if isinstance(when, timedelta):
        return {"every": when.total_seconds()}
    if isinstance(when, bool) or not isinstance(when, int | float):
        raise PluginMistake(
            f"task {name!r}: {type(when).__name__} is no schedule: give seconds, a timedelta or "
            "a cron expression"
        )
    return {"every": float(when)}


class TaskOptions(Struct, frozen=True):
    """What `@plugin.task` says of a task."""

    when: When | None = None
    """None declares the handler alone: `api.scheduler.schedule` finds it by its name."""
    name: str | None = None
    more: Mapping[str, Any] = {}
    """As `Scheduler.schedule` takes them."""


def task_options(
    when: When | None = None,
    /,
    *,
    every: float | timedelta | None = None,
    name: str | None = None,
    timezone: str | None = None,
    overlap: bool = False,
    missed: Missed = "run_once",
    jitter: float | None = None,
    immediately: bool = False,
    timeout: float | None = None,
) -> TaskOptions:
    """The options of a decorator. Raises `PluginMistake` for two schedules."""
    if when is not None and every is not None:
        raise PluginMistake("a task has one schedule: a cron expression or every=, not both")
    more = {
        "timezone": timezone,
        "overlap": overlap,
        "missed": missed,
        "jitter": jitter,
        "immediately": immediately,
        "timeout": timeout,
    }
    return TaskOptions(every if when is None else when, name, more)


@overload
def task(function: F, /) -> F: ...
@overload
def task(
    when: When | None = None,
    /,
    *,
    every: float | timedelta | None = None,
    name: str | None = None,
    timezone: str | None = None,
    overlap: bool = False,
    missed: Missed = "run_once",
    jitter: float | None = None,
    immediately: bool = False,
    timeout: float | None = None,
) -> Callable[[F], F]: ...
def task(when: Any = None, /, **options: Any) -> Any:
    """Mark a method of a `Plugin` subclass as a task, by a cron expression or `every` so often.

    Without either it is a handler that `api.scheduler.schedule` finds by its name.
    """
    if callable(when):
        return mark(when, "task", TaskOptions())
    made = task_options(when, **options)
    return lambda target: mark(target, "task", made)
