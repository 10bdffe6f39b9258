"""The threads in which blocking code of the plugin runs, beside the worker's loop."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from queue import SimpleQueue
from typing import Any, TypeAlias

__all__ = ["Threads"]

_Outcome: TypeAlias = "asyncio.Future[Any]"
_Work: TypeAlias = tuple[_Outcome, contextvars.Context, Callable[..., Any], tuple[Any, ...]]


class Threads:
    """Runs the plugin's functions: async ones on the loop, blocking ones in a thread.

    Each thread is started when there is work and none is idle. Not an executor: what
    `run_in_executor` goes through between a task and a thread is forty functions, and running
    those for the first time costs a worker a third of a megabyte.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.limit = 1
        """So many run at once; the others wait their turn."""
        self._loop = loop
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._started: list[threading.Thread] = []
        self._unfinished = 0

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns, whichever kind it is."""
        if inspect.iscoroutinefunction(function):
            return await function(*args)
        result = await self.run_blocking(function, *args)
        # A plain function may give a coroutine: a lambda or a partial round an async one.
        return await result if inspect.isawaitable(result) else result

    async def run_blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a blocking function returns, run in the caller's context."""
        work = self._begin(function, *args)
        # A thread cannot be stopped: the answer comes when it ends, cancelled or not.
        while True:
            try:
                return await asyncio.shield(work)
            except asyncio.CancelledError:
                if work.done():
                    raise

    async def each(self, items: Iterator[Any]) -> AsyncGenerator[Any, None]:
        """The items of a blocking iterator."""
        done = object()
        try:
            while (item := await self.run_blocking(next, items, done)) is not done:
                yield item
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                await self.run_blocking(close)

    def close(self) -> None:
        """Wait until all work is done and the threads have ended."""
        for _ in self._started:
            self._work.put(None)
        for thread in self._started:
            thread.join()

    def _begin(self, function: Callable[..., Any], *args: Any) -> _Outcome:
        if len(self._started) < min(self.limit, self._unfinished + 1):
            name = f"tool_{len(self._started)}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            thread.start()
            self._started.append(thread)
        self._unfinished += 1
        outcome = self._loop.create_future()
        self._work.put((outcome, contextvars.copy_context(), function, args))
        return outcome

    def _serve(self) -> None:
        while work := self._work.get():
            outcome, context, function, args = work
            result, error = None, None
            try:
                result = context.run(function, *args)
            except BaseException as exc:  # noqa: BLE001 - it is raised where the outcome is awaited
                error = exc
            self._loop.call_soon_threadsafe(self._finish, outcome, result, error)
            # Or they would live on, however large, until there is other work.
            del work, outcome, context, function, args, result, error

    def _finish(self, outcome: _Outcome, result: object, error: BaseException | None) -> None:
        self._unfinished -= 1
        if isinstance(error, StopIteration):  # no future takes it, as no coroutine lets it out
            outcome.set_exception(RuntimeError("the tool raised StopIteration"))
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)
