"""The event loop as the pipes need it: callbacks, timers, and an outcome to wait for.

One descriptor's reader lives as long as its pipe, and a call costs one future: a task and a
cancel scope for each call would cost more than the rest of the call. On asyncio this is the
loop itself; on trio it is built from anyio.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

__all__ = ["Reactor", "TimerHandle", "Waiter", "current_reactor", "soon_from_threads"]

T = TypeVar("T")
Callback: TypeAlias = Callable[[], object]
TaskFunction: TypeAlias = Callable[..., Coroutine[Any, Any, object]]


class TimerHandle(Protocol):
    def cancel(self) -> None:
        """Keep the timer from going off."""


class Waiter(Protocol[T]):
    """Something that one task awaits and a callback settles."""

    def done(self) -> bool: ...
    def set_result(self, result: T, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...
    def __await__(self) -> Generator[Any, Any, T]: ...


class Reactor(Protocol):
    """The event loop, to code that lives in callbacks."""

    def now(self) -> float:
        """Seconds on the loop's monotonic clock."""

    def add_reader(self, fd: int, callback: Callback, /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...
    def add_writer(self, fd: int, callback: Callback, /) -> object: ...
    def remove_writer(self, fd: int, /) -> object: ...
    def call_soon(self, callback: Callback, /) -> object: ...
    def call_at(self, when: float, callback: Callback, /) -> TimerHandle: ...
    def waiter(self) -> "Waiter[Any]": ...
    def spawn(self, function: TaskFunction, *args: object) -> None:
        """Run a task that belongs to the host. It must end its own exceptions."""


def current_reactor(tasks: TaskGroup) -> Reactor:
    """The reactor of the running event loop; what it spawns runs in `tasks`."""
    try:
        return _AsyncioReactor(asyncio.get_running_loop(), tasks)
    except RuntimeError:  # another library's loop
        return _AnyioReactor(tasks)


def soon_from_threads() -> Callable[[Callback], object]:
    """What has the running event loop run a callback, called in another thread.

    Raises a `RuntimeError` there once the loop is gone.
    """
    try:
        return asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon


class _AsyncioReactor:
    def __init__(self, loop: asyncio.AbstractEventLoop, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._context = _asyncio_context()
        self.now = loop.time
        self.add_reader = loop.add_reader
        self.remove_reader = loop.remove_reader
        self.add_writer = loop.add_writer
        self.remove_writer = loop.remove_writer
        self.call_soon = loop.call_soon
        self.call_at = loop.call_at
        self.waiter = loop.create_future

    def spawn(self, function: TaskFunction, *args: object) -> None:
        self._context.copy().run(self._tasks.start_soon, function, *args)


def _asyncio_context() -> contextvars.Context:
    """A context in which anyio knows its library in callbacks, too.

    Where sniffio is installed anyio asks it, and it sees only tasks, unless anyio.run began.
    """
    context = contextvars.copy_context()
    with suppress(ImportError):
        from sniffio import current_async_library_cvar

        context.run(current_async_library_cvar.set, "asyncio")
    return context


class _AnyioReactor:
    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._context = contextvars.copy_context()
        self._watches: dict[tuple[str, int], anyio.CancelScope] = {}

    def now(self) -> float:
        return anyio.current_time()

    def add_reader(self, fd: int, callback: Callback) -> None:
        self._watch("read", fd, callback)

    def remove_reader(self, fd: int) -> None:
        self._unwatch("read", fd)

    def add_writer(self, fd: int, callback: Callback) -> None:
        self._watch("write", fd, callback)

    def remove_writer(self, fd: int) -> None:
        self._unwatch("write", fd)

    def call_soon(self, callback: Callback) -> None:
        async def run() -> None:
            callback()

        self._tasks.start_soon(run)

    def call_at(self, when: float, callback: Callback) -> anyio.CancelScope:
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await anyio.sleep_until(when)
                callback()

        self._tasks.start_soon(wait)
        return scope

    def waiter(self) -> "_EventWaiter[Any]":
        return _EventWaiter()

    def spawn(self, function: TaskFunction, *args: object) -> None:
        # Whoever causes it to run, it runs for the host.
        self._context.copy().run(self._tasks.start_soon, function, *args)

    def _watch(self, direction: str, fd: int, callback: Callback) -> None:
        self._unwatch(direction, fd)
        scope = self._watches[direction, fd] = anyio.CancelScope()
        wait = anyio.wait_readable if direction == "read" else anyio.wait_writable

        async def watch() -> None:
            # The pipe may be closed under the wait; whoever closed it has removed the watch.
            with scope, suppress(anyio.ClosedResourceError, OSError):
                while not scope.cancel_called:
                    await wait(fd)
                    if not scope.cancel_called:
                        callback()

        self._tasks.start_soon(watch)

    def _unwatch(self, direction: str, fd: int) -> None:
        scope = self._watches.pop((direction, fd), None)
        if scope is not None:
            scope.cancel()


class _EventWaiter(Generic[T]):
    """What an asyncio future is, of an anyio event."""

    def __init__(self) -> None:
        self._settled = anyio.Event()
        self._result: Any = None
        self._exception: BaseException | None = None

    def done(self) -> bool:
        return self._settled.is_set()

    def set_result(self, result: T, /) -> None:
        self._result = result
        self._settled.set()

    def set_exception(self, exception: BaseException, /) -> None:
        self._exception = exception
        self._settled.set()

    def __await__(self) -> Generator[Any, Any, T]:
        yield from self._settled.wait().__await__()
        if self._exception is not None:
            raise self._exception
        result: T = self._result
        return result
