"""A database that is opened at its first use, and given up for good when it is damaged."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import anyio

from plughost.services.sqlite import Connection, SqliteThread
from plughost.services.store_errors import StoreDamaged, StoreError, StoreTooNew

__all__ = ["LazySqlite"]

_log: Final = logging.getLogger("plughost.services")

T = TypeVar("T")

# Seconds until a sound database that could not be opened is tried again: a lock holds each try up
# for five, and those who wait would try one after the other.
_PAUSE: Final = 5.0


class LazySqlite:
    """What `SqliteThread` is, for a service that not every host needs: no use, no file.

    The operator finds in the log why a database cannot be used, and the host runs on without it.
    `service` is its name there; with None nothing is logged. `clock` gives seconds.
    """

    def __init__(
        self,
        database: SqliteThread,
        service: str | None,
        at_first: Callable[[Connection], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._service = service
        self._at_first = at_first
        self._opening = anyio.Lock()
        self._clock = clock
        self._opened = False
        self._try_at = clock()
        self._failure: StoreError | None = None

    async def read(self, function: Callable[[Connection], T]) -> T:
        """The result of a function that only reads. Raises what it raises, and `StoreError`."""
        async with self._open() as database:
            return await database.read(function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """The result of a function that runs in one transaction, as `SqliteThread.write` does."""
        async with self._open() as database:
            return await database.write(function)

    async def aclose(self) -> None:
        """Close it, if it was opened. Returns even if cancelled."""
        await self._database.aclose()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[SqliteThread]:
        if not self._opened:
            async with self._opening:
                await self._open_once()
        if self._failure is not None:
            # The same exception again and again would carry the tracebacks of all times.
            raise self._failure.with_traceback(None)
        try:
            yield self._database
        except StoreError as exc:
            self._log(exc)
            if isinstance(exc, StoreDamaged):  # to write on could ruin what can still be saved
                self._failure = exc
            raise

    async def _open_once(self) -> None:
        if self._opened or self._clock() < self._try_at:
            return
        try:
            await self._database.open()
            if self._at_first is not None:
                await self._database.write(self._at_first)
        except StoreError as exc:
            self._log(exc)
            self._failure = exc
            if not isinstance(exc, StoreDamaged | StoreTooNew):  # what it failed of may pass
                await self._database.aclose()
                self._try_at = self._clock() + _PAUSE
                return
        else:
            self._failure = None
        self._opened = True

    def _log(self, failure: StoreError) -> None:
        if self._service is not None:
            _log.error("%s: %s", self._service, failure)
