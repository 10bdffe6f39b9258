"""Tasks that end with a block, and the signals that a person or a supervisor sends."""

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import TaskGroup

from plughost.exits import Cause

if TYPE_CHECKING:  # most commands run no host of their own
    from plughost.host import Host

__all__ = ["background_tasks", "on_interrupt", "stop_at_once"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@asynccontextmanager
async def background_tasks() -> AsyncIterator[TaskGroup]:
    """A task group that is cancelled at the end of the block.

    The block's own exception goes on as it is, not wrapped in an exception group.
    """
    tasks = anyio.create_task_group()
    await tasks.__aenter__()
    try:
        yield tasks
    finally:
        tasks.cancel_scope.cancel()
        await tasks.__aexit__(None, None, None)


@asynccontextmanager
async def on_interrupt(react: Callable[[int], object]) -> AsyncIterator[None]:
    """Call `react(1)` at the first SIGINT or SIGTERM, `react(2)` at the second, and so on."""

    async def watch() -> None:
        with anyio.open_signal_receiver(*_SIGNALS) as received:
            ready.set()
            count = 0
            async for _ in received:
                count += 1
                react(count)

    ready = anyio.Event()
    async with background_tasks() as tasks:
        tasks.start_soon(watch)
        await ready.wait()  # from here on a signal is ours
        yield


def stop_at_once(host: "Host") -> None:
    """Kill the workers of a host that is stopping, so that it need not wait for their calls."""
    for plugin in host.plugins.values():
        for worker in plugin.workers:
            worker.end(Cause.STOPPED, "stopped at once by the operator")
