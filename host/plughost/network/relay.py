"""Bytes from a worker to a server and back, counted, and bounded in number and idleness."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import anyio
from anyio.abc import SocketStream

from plughost.units import format_bytes, format_seconds

from .client import ClientStream
from .limits import NetworkLimits
from .tls import BadHello

__all__ = ["Cut", "Relay", "ServerBroke"]

_CHUNK: Final = 64 * 1024


class Cut(Exception):
    """Raised when a limit ended the connection."""


class ServerBroke(Exception):
    """Raised when the server's side broke off. Not raised for an orderly end."""


class _WorkerBroke(Exception):
    """Raised when the worker's side broke off: it wants no more of it."""


class Relay:
    """One connection in use. Each side is read only as fast as the other takes it."""

    def __init__(self, client: ClientStream, server: SocketStream, limits: NetworkLimits) -> None:
        self.bytes_up = 0
        self.bytes_down = 0
        self._client = client
        self._server = server
        self._limits = limits
        self._idle = anyio.CancelScope()
        self._server_ended = False
        self._ended_by: Exception | None = None

    async def run(self, opening: Callable[[], Awaitable[bytes]], request: int | None) -> None:
        """Returns when both sides have ended. Raises `Cut`, `ServerBroke` or `BadHello`.

        `opening` gives the first bytes that may go up, and none at the end. `request` is how many
        bytes go up in all, where that is known: nothing that follows them is read.
        """
        with self._idle:
            self._moved()
            async with anyio.create_task_group() as tasks:
                for pump in (partial(self._up, opening, request), self._down):
                    tasks.start_soon(self._guard, pump, tasks.cancel_scope)
        if self._ended_by is not None and not isinstance(self._ended_by, _WorkerBroke):
            raise self._ended_by
        # A client that keeps a connection that the server has ended, in a pool, is no offender.
        if self._idle.cancelled_caught and not self._server_ended:
            raise Cut(f"nothing moved for {format_seconds(self._limits.idle_timeout)}")

    async def _guard(self, pump: Callable[[], Awaitable[None]], other: anyio.CancelScope) -> None:
        try:
            await pump()
        except (BadHello, Cut, ServerBroke, _WorkerBroke) as exc:
            self._ended_by = self._ended_by or exc
            other.cancel()

    async def _up(self, opening: Callable[[], Awaitable[bytes]], request: int | None) -> None:
        data = await self._of_worker(opening)
        while data:
            if request is not None:
                data = data[: request - self.bytes_up]
            self.bytes_up += len(data)
            self._moved()
            try:
                await self._server.send(data)
            except (OSError, anyio.BrokenResourceError) as exc:
                raise ServerBroke(_reason(exc)) from exc
            if request is not None and self.bytes_up >= request:
                return
            data = await self._of_worker(self._client.receive)
        with suppress(OSError, anyio.BrokenResourceError):
            await self._server.send_eof()

    async def _down(self) -> None:
        while True:
            try:
                data = await self._server.receive(_CHUNK)
            except anyio.EndOfStream:
                break
            except (OSError, anyio.BrokenResourceError) as exc:
                raise ServerBroke(_reason(exc)) from exc
            self.bytes_down += len(data)
            self._moved()
            try:
                await self._client.send(data)
            except OSError as exc:
                raise _WorkerBroke(_reason(exc)) from exc
        self._server_ended = True
        with suppress(OSError):
            self._client.send_eof()

    async def _of_worker(self, receive: Callable[[], Awaitable[bytes]]) -> bytes:
        try:
            return await receive()
        except OSError as exc:
            raise _WorkerBroke(_reason(exc)) from exc

    def _moved(self) -> None:
        if self.bytes_up + self.bytes_down > self._limits.connection_bytes:
            raise Cut(f"over {format_bytes(self._limits.connection_bytes)}")
        self._idle.deadline = anyio.current_time() + self._limits.idle_timeout


def _reason(exc: Exception) -> str:
    cause = exc.__cause__ or exc
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
