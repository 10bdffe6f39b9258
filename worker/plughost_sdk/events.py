"""`api.events`: what happens in the application and in other plugins, and telling of one's own."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import Raw, Struct, convert
from msgspec.msgpack import Decoder

from plughost_protocol import decode_value, encode
from plughost_protocol.events import (
    EVENT_METHOD,
    EVENTS_EMIT,
    EVENTS_HISTORY,
    EVENTS_REPLY,
    EVENTS_REQUEST,
    EVENTS_SUBSCRIBE,
    EVENTS_UNSUBSCRIBE,
    DeliverEvent,
    EmitEvent,
    EventHistory,
    ReplyToEvent,
    RequestByEvent,
    Subscribe,
    Unsubscribe,
    WireEvent,
)

from .declarations import mark
from .link import HostLink, HostPart, PlainHandler

__all__ = ["Event", "EventHandler", "EventOptions", "Events", "on"]

EventHandler: TypeAlias = Callable[["Event"], object]
"""Async, or blocking, in a thread."""
M = TypeVar("M", bound=Callable[[Any, Any], object])

_decode: Final = Decoder(WireEvent).decode


class EventOptions(Struct, frozen=True):
    """What `@plugin.on` and `@on` say of a handler; see `Events.on`."""

    pattern: str
    throttle: float | None = None
    debounce: float | None = None
    max_wait: float | None = None


def on(
    pattern: str,
    /,
    *,
    throttle: float | None = None,
    debounce: float | None = None,
    max_wait: float | None = None,
) -> Callable[[M], M]:
    """Mark a method of a `Plugin` subclass as the handler of events; options as `Events.on`."""
    return lambda target: mark(target, "on", EventOptions(pattern, throttle, debounce, max_wait))


class Event:
    """Something that has happened. What it says of itself is the host's word."""

    __slots__ = (
        "_events",
        "correlation_id",
        "data",
        "id",
        "lost",
        "name",
        "parent",
        "redelivered",
        "source",
        "timestamp",
        "user_id",
        "wants_reply",
    )

    def __init__(
        self, events: "Events", wire: WireEvent, lost: int = 0, redelivered: bool = False
    ) -> None:
        self.id = wire.id
        self.name = wire.name
        self.data = decode_value(wire.data)
        self.source = wire.source
        """`host`, `app`, or the id of the plugin that emitted it."""
        self.timestamp = wire.timestamp
        """Seconds since 1970, UTC."""
        self.correlation_id = wire.correlation_id
        self.parent = wire.parent
        """The id of the event whose handler emitted this one, if any."""
        self.user_id = wire.user_id
        self.wants_reply = wire.wants_reply
        self.lost = lost
        """Events of this subscription that were dropped just before: the handler was too slow."""
        self.redelivered = redelivered
        """Whether an earlier worker died with it, and may have handled it already."""
        self._events = events

    async def reply(self, data: Any = None) -> bool:
        """Answer a request; whether this was the first answer, and in time."""
        return await self._events.reply(self, data)

    def __repr__(self) -> str:
        return f"<Event {self.name} {self.id} from {self.source}>"


class Events(HostPart):
    """Subscribes to events and emits them.

    A name has segments, separated by `.` or `:`, which are equal. A pattern may have `*` for a
    segment, and at its end for one or more: `session.*`, `message:*`, `*` for all.
    """

    def __init__(self, link: HostLink) -> None:
        super().__init__(link)
        self._last_id = 0
        self._handlers: dict[int, tuple[str, EventHandler, bool]] = {}

    async def on(
        self,
        pattern: str,
        handler: EventHandler,
        *,
        throttle: float | None = None,
        debounce: float | None = None,
        max_wait: float | None = None,
    ) -> None:
        """Have `handler` called with each `Event` that matches, one after the other.

        It may be async, or block, in a thread. With `throttle`: at most one event in so many
        seconds, the others are passed over. With `debounce`: only the last one, when none has
        come for so many seconds, or `max_wait` seconds after the first (10 times that long).
        Needs the permission `events:subscribe` for all of the pattern.
        """
        await self._subscribe(pattern, handler, False, throttle, debounce, max_wait)

    async def once(self, pattern: str, handler: EventHandler) -> None:
        """Have `handler` called with the next event that matches, and no other."""
        await self._subscribe(pattern, handler, True)

    async def off(self, pattern: str, handler: EventHandler | None = None) -> None:
        """Take back what `on` or `once` did for this pattern: for `handler`, or for all."""
        for number, (text, known, _) in list(self._handlers.items()):
            # Not `is`: a bound method is a new object each time.
            if text == pattern and (handler is None or known == handler):
                del self._handlers[number]
                await self._link.request(EVENTS_UNSUBSCRIBE, Unsubscribe(number))

    async def emit(self, name: str, data: Any = None, *, correlation_id: str = "") -> str | None:
        """Tell everybody. Returns the event's id once the host has it; None if a hook stopped it.

        Data is what msgpack holds. Needs the permission `events:emit` for the name. Raises
        `HostError`: `invalid_params` for no name or too much data, `event_refused` for a name of
        the host's own or by a hook, `too_deep` for events that cause each other without end.
        """
        event = EmitEvent(name, Raw(encode(data)), correlation_id)
        result: str | None = await self._link.request(EVENTS_EMIT, event)
        return result

    async def request(
        self, name: str, data: Any = None, *, timeout: float = 10.0, correlation_id: str = ""
    ) -> Any:
        """The data of the first reply to an event, within `timeout` seconds.

        Raises what `emit` raises, and `HostError` with `no_subscriber`, `no_reply`, `timeout`.
        """
        request = RequestByEvent(name, Raw(encode(data)), timeout, correlation_id)
        return await self._link.request(EVENTS_REQUEST, request)

    async def reply(self, event: Event, data: Any = None) -> bool:
        """Answer a request that this plugin got; whether it was the first answer, and in time."""
        reply = ReplyToEvent(event.id, Raw(encode(data)))
        return bool(await self._link.request(EVENTS_REPLY, reply))

    async def history(self, pattern: str = "*", limit: int = 100) -> list[Event]:
        """The last events that match, oldest first. Needs what subscribing to them needs."""
        found = await self._link.request(EVENTS_HISTORY, EventHistory(pattern, limit))
        events = []
        for item in found:
            data = Raw(encode(item.pop("data", None)))
            events.append(Event(self, convert(item | {"data": data}, WireEvent)))
        return events

    async def _subscribe(
        self,
        pattern: str,
        handler: EventHandler,
        once: bool,
        throttle: float | None = None,
        debounce: float | None = None,
        max_wait: float | None = None,
    ) -> None:
        handlers = self._link.handlers
        if EVENT_METHOD not in handlers:
            handlers[EVENT_METHOD] = PlainHandler(self._deliver, DeliverEvent)
        self._last_id = number = self._last_id + 1
        # Before the host knows of it: an event may be here before its answer.
        self._handlers[number] = pattern, handler, once
        try:
            await self._link.request(
                EVENTS_SUBSCRIBE, Subscribe(number, pattern, once, throttle, debounce, max_wait)
            )
        except BaseException:
            del self._handlers[number]
            raise

    async def _deliver(self, delivery: DeliverEvent) -> None:
        known = self._handlers.get(delivery.subscription)
        if known is None:  # taken back while the event was on its way
            return
        _, handler, once = known
        if once:
            del self._handlers[delivery.subscription]
        event = Event(self, _decode(delivery.event), delivery.lost, delivery.redelivered)
        await self._link.run(handler, event)
