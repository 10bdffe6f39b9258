"""What the http service keeps of one worker: its client, and the bodies that it has not read."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, TypeVar

import anyio

from plughost.errors import Overloaded
from plughost.reactor import Reactor, TimerHandle
from plughost.service_config import HttpConfig
from plughost.services.http.errors import HttpFailed, HttpRefused
from plughost.units import format_seconds

if TYPE_CHECKING:  # it imports httpcore2, which a host without such plugins does not need
    from plughost.services.http.body import Body
    from plughost.services.http.client import HttpClient

__all__ = ["HttpSession", "Part"]

T = TypeVar("T")


class Part(TypedDict):
    """Some of a body."""

    body: bytes
    stream: int
    """The number to read on with; 0 where this was the last."""


@dataclass(slots=True)
class _Open:
    """A body that has not been read to the end."""

    body: "Body"
    timeout: float
    """Of each read, seconds."""
    end: float
    """On the reactor's clock: all must have come by then."""
    streamed: bool
    """Whether the plugin gets what has come, and not as much as a read holds."""
    timer: TimerHandle | None = None

    def close_at(self, timer: TimerHandle | None) -> None:
        """Keep one timer, or none."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer


class HttpSession:
    """Ends with the worker: nothing of it is used by another one."""

    def __init__(
        self, plugin_id: str, client: "HttpClient", limits: HttpConfig, reactor: Reactor
    ) -> None:
        self.client = client
        self._plugin_id = plugin_id
        self._limits = limits
        self._reactor = reactor
        self._bodies: dict[int, _Open] = {}
        self._running: set[anyio.CancelScope] = set()
        self._last = 0

    async def until_the_end(self, work: Awaitable[T]) -> T:
        """Its outcome. Raises `HttpFailed` when the worker ends first."""
        with anyio.CancelScope() as scope:
            self._running.add(scope)
            try:
                return await work
            finally:
                self._running.discard(scope)
        raise HttpFailed("the worker that asked is gone")

    def check_streams(self) -> None:
        """Raises `Overloaded` when the plugin has as many streams open as it may."""
        limit = self._limits.streams
        if sum(each.streamed for each in self._bodies.values()) >= limit:
            raise Overloaded(self._plugin_id, "open streams of http", limit)

    def add(self, body: "Body", timeout: float, left: float, *, streamed: bool) -> Part:
        """Keep a body of which nothing has been read. `left` is seconds, for all of it."""
        self._last += 1
        end = self._reactor.now() + left
        self._bodies[self._last] = opened = _Open(body, timeout, end, streamed)
        self._close_when_idle(self._last, opened)
        return Part(body=b"", stream=self._last)

    async def read(self, number: int, size: int) -> Part:
        """The next part of a body, at most `size` bytes. Raises `HttpError`."""
        opened = self._bodies.get(number)
        if opened is None:
            idle = format_seconds(self._limits.stream_idle)
            raise HttpRefused(
                f"no response {number} is open: it has ended, or was not read for {idle}"
            )
        opened.close_at(None)
        body = opened.body
        data = b""
        try:
            left = max(0.0, min(opened.timeout, opened.end - self._reactor.now()))
            data = await body.read(size, left, fill=not opened.streamed)
        finally:
            if body.at_end or (body.closed and not data):
                self._bodies.pop(number, None)
            else:
                self._close_when_idle(number, opened)
        return Part(body=data, stream=number if number in self._bodies else 0)

    async def drop(self, number: int) -> None:
        """Take no more of a body; one that has ended is no mistake."""
        opened = self._bodies.pop(number, None)
        if opened is not None:
            opened.close_at(None)
            await opened.body.aclose()

    async def end(self) -> None:
        """Close all that is open, and cut what is under way."""
        for scope in self._running:
            scope.cancel()
        with anyio.CancelScope(shield=True):
            for number in list(self._bodies):
                await self.drop(number)
            await self.client.aclose()

    def _close_when_idle(self, number: int, opened: _Open) -> None:
        opened.close_at(
            self._reactor.call_at(
                self._reactor.now() + self._limits.stream_idle,
                lambda: self._reactor.spawn(self.drop, number),
            )
        )
