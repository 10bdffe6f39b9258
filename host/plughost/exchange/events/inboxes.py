"""The application's subscriptions: an async iterator, or a callback."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self
from weakref import ref

import anyio
import anyio.lowlevel

from plughost.catalog.event_names import EventPattern
from plughost.exchange.chain import inside

from .backlog import Backlog, Entry
from .bus import EventBus
from .event import APPLICATION, Admitted, Event
from .pacing import Pacer, Pacing
from .subscription import Receiver

__all__ = ["EventListener", "EventStream"]

_log: Final = logging.getLogger("plughost.events")


class _Inbox:
    """One subscription of the application: a bounded queue, and its pace."""

    def __init__(
        self, bus: EventBus, pattern: EventPattern, pacing: Pacing[Entry[None]], buffer: int
    ) -> None:
        self.lost = 0
        """Events that were dropped so far: they were not taken in time."""
        self._bus = bus
        self._pattern = str(pattern)
        self._untold = 0
        self._backlog: Backlog[None] = Backlog(buffer, bus.config.queue_bytes)
        self._pacer = Pacer(pacing, lambda: bus.reactor, self._queue, self._pass_over)
        self._receiver = self._as_receiver()
        bus.index.add(pattern, self._receiver)

    def receive(self, admitted: Admitted) -> None:
        delivery = self._bus.trace.queued(admitted.event, APPLICATION, self._pattern)
        self._pacer.offer(Entry(None, admitted, delivery))

    def close(self) -> None:
        """Receive nothing more."""
        self._bus.index.remove(self._receiver)
        self._pacer.stop()

    def _queue(self, entry: Entry[None]) -> None:
        for lost in self._backlog.put(entry):
            self.lost += 1
            self._untold += 1
            self._bus.trace.ended(lost.admitted.event, lost.delivery, "lost")
            self._bus.replies.failed(lost.admitted.event)
        self._on_queued()

    def _pass_over(self, entry: Entry[None]) -> None:
        self._bus.trace.ended(entry.admitted.event, entry.delivery, "passed over")
        self._bus.replies.failed(entry.admitted.event)

    def _on_queued(self) -> None:
        raise NotImplementedError

    def _as_receiver(self) -> Receiver:
        """What the bus knows it by."""
        return self

    @property
    def is_busy(self) -> bool:
        """Whether it still works on what it has received."""
        return False

    def _take(self) -> Entry[None] | None:
        entry = self._backlog.take(None)
        if entry is not None:
            self._bus.trace.started(entry.admitted.event, entry.delivery)
        return entry

    def _event(self, entry: Entry[None]) -> Event:
        lost, self._untold = self._untold, 0
        event = entry.admitted.event
        return replace(event, lost=lost) if lost else event


class EventStream(_Inbox):
    """Events as an async iterator, which ends with the host.

    >>> async with host.events.subscribe("session.*") as events:  # doctest: +SKIP
    ...     async for event in events: ...
    """

    def __init__(self, *args: Any) -> None:
        self._more: anyio.Event | None = None
        self._closed = False
        super().__init__(*args)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        # Before it takes one: an event that was taken is not lost to who is cancelled here.
        await anyio.lowlevel.checkpoint()
        while True:
            entry = self._take()
            if entry is not None:
                # What becomes of it is the application's own business.
                self._bus.trace.ended(entry.admitted.event, entry.delivery, "handled")
                return self._event(entry)
            if self._closed:
                raise StopAsyncIteration
            if self._more is None:  # else another task waits for the next one already
                self._more = anyio.Event()
            await self._more.wait()

    def _as_receiver(self) -> Receiver:
        return _Weakly(self, self._bus)

    def close(self) -> None:
        """Receive nothing more; what was received can still be taken."""
        super().close()
        self._closed = True
        self._on_queued()

    def _on_queued(self) -> None:
        if self._more is not None:
            self._more.set()
            self._more = None


class _Weakly:
    """Ends with the iterator that it is for: a loop over it may be left without `async with`."""

    def __init__(self, stream: EventStream, bus: EventBus) -> None:
        self._stream = ref(stream)
        self._bus = bus

    def receive(self, admitted: Admitted) -> None:
        stream = self._stream()
        if stream is None:
            self._bus.index.remove(self)
        else:
            stream.receive(admitted)


class EventListener(_Inbox):
    """A callback that is called for one event after the other, until `off`."""

    def __init__(self, callback: Callable[[Event], Any], once: bool, *args: Any) -> None:
        self._callback = callback
        self._once = once
        self._running = False
        super().__init__(*args)

    @property
    def is_busy(self) -> bool:
        return self._running

    def off(self) -> None:
        """Call it no more."""
        self.close()
        self._backlog.take_all(None)

    def _on_queued(self) -> None:
        if self._once:
            self._bus.index.remove(self._receiver)
        if not self._running:
            self._running = True
            self._bus.reactor.spawn(self._run)

    async def _run(self) -> None:
        try:
            while (entry := self._take()) is not None:
                await self._call(entry)
        finally:
            self._running = False

    async def _call(self, entry: Entry[None]) -> None:
        event = self._event(entry)
        outcome = "handled"
        try:
            with inside(event.meta.caller):
                result = self._callback(event)
                if inspect.isawaitable(result):
                    await result
        except Exception as exc:  # noqa: BLE001 - the application's; the other subscribers go on
            _log.exception("the callback %r for event %s failed", self._callback, event.name)
            outcome = f"failed: {exc!r}"[:200]
            self._bus.replies.failed(event)
        self._bus.trace.ended(event, entry.delivery, outcome)
