"""Events on the control socket: the methods, their parameters, and what they answer."""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct

__all__ = [
    "HOST_EVENTS",
    "HOST_TRACES",
    "EventInfo",
    "HandlerInfo",
    "ListEvents",
    "ListTraces",
    "TraceInfo",
]

HOST_EVENTS: Final = "host.events"
"""The last events: answers with a list of `EventInfo`; with credit, a stream of them, in which
those that come follow."""
HOST_TRACES: Final = "host.traces"
"""The way of the last events: answers with a list of `TraceInfo`."""

Limit = Annotated[int, Meta(ge=1, le=10_000)]


class ListEvents(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.events`."""

    pattern: Annotated[str, Meta(min_length=1, max_length=200)] = "*"
    limit: Limit = 100


class ListTraces(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `host.traces`."""

    wanted: Annotated[str, Meta(max_length=200)] = ""
    """The id of an event, or a correlation id; nothing for all."""
    limit: Limit = 20


class EventInfo(Struct, frozen=True):
    """An event, as `plughost events` shows it."""

    id: str
    name: str
    source: str
    timestamp: float
    """Seconds since 1970, UTC."""
    data: Any
    correlation_id: str = ""
    parent: str = ""
    lost: int = 0
    """Events that came just before and were not read in time."""


class HandlerInfo(Struct, frozen=True):
    """One subscription that an event was for. Times are seconds since the event."""

    receiver: str
    pattern: str
    outcome: str
    queued: float
    started: float | None = None
    ended: float | None = None


class TraceInfo(Struct, frozen=True):
    """An event, who got it, and what it caused."""

    id: str
    name: str
    source: str
    timestamp: float
    correlation_id: str = ""
    replied: str = ""
    stopped: str = ""
    handlers: "list[HandlerInfo]" = []
    caused: "list[TraceInfo]" = []
