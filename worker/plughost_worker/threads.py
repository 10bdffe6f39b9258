"""The threads in which blocking code of the plugin runs, beside the worker's loop."""

import asyncio
import contextvars
import inspect
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["Threads"]


class Threads:
    """Runs the plugin's functions: async ones on the loop, blocking ones in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pool = ThreadPoolExecutor(1)

    def allow(self, threads: int) -> None:
        """Let so many run at once; the others wait their turn."""
        # Starts a thread only when a blocking function is called.
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tool")

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns, whichever kind it is."""
        if inspect.iscoroutinefunction(function):
            return await function(*args)
        result = await self.run_blocking(function, *args)
        # A plain function may give a coroutine: a lambda or a partial round an async one.
        return await result if inspect.isawaitable(result) else result

    async def run_blocking(self, function: Callable[..., Any], *args: Any) -> Any:
        """What a blocking function returns."""
        context = contextvars.copy_context()
        work = self._loop.run_in_executor(self._pool, context.run, _finishing, function, *args)
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


def _finishing(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except StopIteration as exc:  # no future takes it, as no coroutine lets it out
        raise RuntimeError("the tool raised StopIteration") from exc
