"""The host's events for clients of the control socket."""

from collections.abc import AsyncGenerator
from typing import Final

from msgspec import Raw

from plughost.exchange.events.event import Event
from plughost.exchange.events.trace import TraceNode
from plughost.host import Host
from plughost_protocol import encode

from .event_records import EventInfo, HandlerInfo, ListEvents, ListTraces, TraceInfo

__all__ = ["last_events", "live_events", "traces_of"]

_MAX_DATA: Final = 512 * 1024  # bytes; a chunk holds twice that
_MAX_ANSWER: Final = 8 * 1024 * 1024  # bytes, in one frame


def last_events(host: Host, params: ListEvents) -> list[EventInfo]:
    """The last events that match, oldest first, as many as fit in an answer."""
    kept: list[EventInfo] = []
    size = 0
    for event in reversed(host.events.history(params.pattern, params.limit)):
        size += len(event.raw) + len(event.name)
        if size > _MAX_ANSWER:
            break
        kept.append(_info(event))
    return kept[::-1]


async def live_events(host: Host, params: ListEvents) -> AsyncGenerator[EventInfo, None]:
    """The last events that match, then those that come, until the host ends."""
    async with host.events.subscribe(params.pattern) as events:
        for event in host.events.history(params.pattern, params.limit):
            yield _info(event)
        async for event in events:
            yield _info(event)


def traces_of(host: Host, params: ListTraces) -> list[TraceInfo]:
    """The way of the last events, each with what it caused."""
    return [_trace(node) for node in host.events.trace(params.wanted, params.limit)]


def _info(event: Event) -> EventInfo:
    fits = len(event.raw) <= _MAX_DATA
    return EventInfo(
        id=event.id,
        name=event.name,
        source=event.source,
        timestamp=event.timestamp,
        data=Raw(event.raw if fits else encode(f"<{len(event.raw)} bytes>")),
        correlation_id=event.correlation_id,
        parent=event.parent,
        lost=event.lost,
    )


def _trace(node: TraceNode) -> TraceInfo:
    return TraceInfo(
        id=node.id,
        name=node.name,
        source=node.source,
        timestamp=node.timestamp,
        correlation_id=node.correlation_id,
        replied=node.replied,
        stopped=node.stopped,
        handlers=[
            HandlerInfo(d.receiver, d.pattern, d.outcome, d.queued, d.started, d.ended)
            for d in node.deliveries
        ],
        caused=[_trace(child) for child in node.caused],
    )
