"""`Host.events`: the bus, as the application uses it."""

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import anyio
import anyio.lowlevel

from plughost.errors import HostMisuse
from plughost.exchange.calls import CallContext
from plughost.exchange.chain import current_chain
from plughost_protocol import decode_value

from .backlog import Entry
from .bus import EventBus
from .event import APPLICATION, Event, Origin, encode_data
from .inboxes import EventListener, EventStream
from .names import parse_pattern
from .pacing import Pacing
from .subscription import EventStats
from .trace import TraceNode

__all__ = ["Events"]


class Events:
    """Emits and receives events for the application, which may see them all.

    Subscribing works before the host is entered, so that not even its start is missed.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._inboxes: WeakSet[EventStream | EventListener] = WeakSet()
        bus.at_close = self._close

    async def emit(
        self,
        name: str,
        data: object = None,
        *,
        correlation_id: str = "",
        user_id: str = "",
        request_id: str = "",
        trace: str = "",
    ) -> Event | None:
        """Emit an event, as the source `app`; None where a hook stopped it.

        Returns when it is taken: nobody waits for subscribers. Raises `InvalidEvent`,
        `EventRefused`.
        """
        await anyio.lowlevel.checkpoint()  # or a loop of emits would let no subscriber read
        origin = self._origin(user_id, request_id, trace)
        return await self._bus.emit(name, self._encode(name, data), origin, correlation_id)

    async def request(
        self,
        name: str,
        data: object = None,
        *,
        timeout: float = 10.0,
        correlation_id: str = "",
        user_id: str = "",
        request_id: str = "",
        trace: str = "",
    ) -> Any:
        """The data of the first reply to an event, within `timeout` seconds.

        Raises what `emit` raises, `NoSubscriber`, `NoReply`, `CallTimeout`.
        """
        origin = self._origin(user_id, request_id, trace)
        raw = self._encode(name, data)
        return decode_value(await self._bus.request(name, raw, origin, timeout, correlation_id))

    def reply(self, event: Event, data: object = None) -> bool:
        """Reply to a request; whether it was the first reply, and in time."""
        raw = self._encode(f"reply to {event.name}", data)
        return self._bus.reply(event.id, APPLICATION, raw)

    def subscribe(
        self,
        pattern: str = "*",
        *,
        buffer: int | None = None,
        throttle: float | None = None,
        debounce: float | None = None,
        max_wait: float | None = None,
    ) -> EventStream:
        """The events that match, from now on. Beyond `buffer` of them the oldest are lost.

        The next event then says in `lost` how many. Raises `InvalidEvent`.
        """
        pacing: Pacing[Entry[None]] = Pacing(throttle, debounce, max_wait)
        buffer = buffer or self._bus.config.queue
        stream = EventStream(self._bus, parse_pattern(pattern), pacing, buffer)
        self._inboxes.add(stream)
        return stream

    def on(
        self,
        pattern: str,
        callback: Callable[[Event], Any],
        *,
        once: bool = False,
        throttle: float | None = None,
        debounce: float | None = None,
        max_wait: float | None = None,
    ) -> EventListener:
        """Have a function called for each event that matches, one after the other.

        An `async def` is awaited; a plain function runs on the event loop, and must not block.
        What it raises is logged. Raises `InvalidEvent`.
        """
        pacing: Pacing[Entry[None]] = Pacing(throttle, debounce, max_wait)
        queue = self._bus.config.queue
        listener = EventListener(callback, once, self._bus, parse_pattern(pattern), pacing, queue)
        self._inboxes.add(listener)
        return listener

    def history(self, pattern: str = "*", limit: int = 100) -> list[Event]:
        """The last events that match, oldest first. Raises `InvalidEvent`."""
        return self._bus.history.last(parse_pattern(pattern), limit, float("inf"))

    def trace(self, wanted: str = "", limit: int = 20) -> list[TraceNode]:
        """The last events that nothing caused, each with its deliveries and all that it caused.

        With `wanted`: the event of this id, or those with this correlation id.
        """
        return self._bus.trace.trees(wanted, limit)

    def stats(self) -> dict[str, EventStats]:
        """What each plugin has had to do with events."""
        return self._bus.stats()

    async def _close(self) -> None:
        """End the iterators, and let callbacks have the last events."""
        for inbox in self._inboxes:
            if isinstance(inbox, EventStream):
                inbox.close()
        with anyio.move_on_after(self._bus.config.shutdown_wait):
            while any(inbox.is_busy for inbox in self._inboxes):  # noqa: ASYNC110 - the end
                await anyio.sleep(0.01)

    def _origin(self, user_id: str, request_id: str, trace: str) -> Origin:
        if not self._bus.is_attached:
            raise HostMisuse("events are emitted while the host runs: enter it first")
        context = CallContext(user_id=user_id, request_id=request_id, trace=trace)  # checks them
        return Origin.caused(
            APPLICATION, current_chain(), context.user_id, context.request_id, context.trace
        )

    def _encode(self, name: str, data: object) -> bytes:
        return encode_data(name, data, self._bus.config.max_size)
