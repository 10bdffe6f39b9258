"""Changes in folders, as the kernel tells of them, heard in a thread of its own."""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from types import ModuleType
from typing import Final

import anyio
import anyio.to_thread

from plughost.errors import HostMisuse
from plughost.reactor import soon_from_threads

__all__ = ["need_watchfiles", "watch_folders"]

# Milliseconds. The thread looks so often whether it is to stop.
_STEP: Final = 50
_GROUP: Final = 200  # for which changes are gathered, at the most
_TIMEOUT: Final = 500  # after which the first turn is over, and we know that it watches


def need_watchfiles() -> ModuleType:
    """The library that watches. Raises `HostMisuse` where it is not installed."""
    try:
        import watchfiles
    except ImportError as exc:
        raise HostMisuse(
            "hot reload needs watchfiles, which is not installed: pip install 'plughost[dev]'"
        ) from exc
    return watchfiles


async def watch_folders(
    folders: Iterable[str],
    counts: Callable[[str, bool], bool],
    on_change: Callable[[set[str]], None],
    on_ready: Callable[[], None],
) -> None:
    """Tell of files that come, go or change in these folders, but not below, until cancelled.

    `counts(path, is_gone)` is asked in the thread. `on_ready` is called once the folders are
    watched: what changes from then on is told of. Raises `OSError` where they cannot be watched,
    `FileNotFoundError` where one has gone.
    """
    watch = need_watchfiles().watch
    gone = need_watchfiles().Change.deleted
    stop = threading.Event()
    soon = soon_from_threads()

    def run() -> None:
        try:
            watch_all()
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError) as exc:  # the latter is watchfiles' own
            raise OSError(str(exc)) from exc

    def watch_all() -> None:
        is_ready = False
        for changes in watch(
            *folders,
            watch_filter=lambda change, path: counts(path, change is gone),
            debounce=_GROUP,
            step=_STEP,
            stop_event=stop,
            rust_timeout=_TIMEOUT,
            yield_on_timeout=True,
            raise_interrupt=False,
            recursive=False,
            ignore_permission_denied=True,
        ):
            if not is_ready:
                is_ready = True
                soon(on_ready)
            if changes:
                soon(partial(on_change, {path for _, path in changes}))

    # Its own: the application's threads are not ours to take.
    limiter = anyio.CapacityLimiter(1)
    try:
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                await anyio.to_thread.run_sync(run, limiter=limiter)
                tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            try:
                # A thread cannot be cancelled: it is told, and looks often.
                await anyio.sleep_forever()
            finally:
                stop.set()
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        raise group.exceptions[0] from None
