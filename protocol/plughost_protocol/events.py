"""Events between host and worker: the method names, their parameters, and an event on the wire.

These structs are msgpack maps, so that a later version may add a field.
"""

from typing import Annotated, Final

from msgspec import Meta, Raw, Struct

from .contract import Seconds

__all__ = [
    "EVENTS_EMIT",
    "EVENTS_HISTORY",
    "EVENTS_REPLY",
    "EVENTS_REQUEST",
    "EVENTS_SUBSCRIBE",
    "EVENTS_UNSUBSCRIBE",
    "EVENT_METHOD",
    "DeliverEvent",
    "EmitEvent",
    "EventHistory",
    "ReplyToEvent",
    "RequestByEvent",
    "Subscribe",
    "Unsubscribe",
    "WireEvent",
]

# From the host to a worker.
EVENT_METHOD: Final = "event"
"""An event for one subscription. Parameters are a `DeliverEvent`; answered when it is handled."""

# From a worker to the host.
EVENTS_SUBSCRIBE: Final = "events.subscribe"
EVENTS_UNSUBSCRIBE: Final = "events.unsubscribe"
EVENTS_EMIT: Final = "events.emit"
"""Answers with the id of the event; nil where a hook stopped it."""
EVENTS_REQUEST: Final = "events.request"
"""Answers with the data of the first reply."""
EVENTS_REPLY: Final = "events.reply"
"""Answers whether the reply was taken: false where another one was first, or it is too late."""
EVENTS_HISTORY: Final = "events.history"
"""Answers with a list of `WireEvent`, oldest first."""

Name = Annotated[str, Meta(min_length=1, max_length=200)]
SubscriptionId = Annotated[int, Meta(ge=1, lt=2**31)]

_NIL: Final = Raw(b"\xc0")


class Subscribe(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `events.subscribe`. At most one of throttle and debounce."""

    id: SubscriptionId
    """The worker's own number for it: never used twice by one worker."""
    pattern: Name
    once: bool = False
    throttle: Seconds | None = None
    """At most one event in so many seconds; the others are passed over."""
    debounce: Seconds | None = None
    """Only the last event, once none has come for so many seconds."""
    max_wait: Seconds | None = None
    """With debounce: the longest that an event waits for quiet."""


class Unsubscribe(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `events.unsubscribe`. What is not there is no error."""

    id: SubscriptionId


class EmitEvent(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `events.emit`."""

    name: Name
    data: Raw = _NIL
    correlation_id: Annotated[str, Meta(max_length=200)] = ""
    """Ties events together; the plugin's to choose."""


class RequestByEvent(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `events.request`."""

    name: Name
    data: Raw = _NIL
    timeout: Seconds = 10.0
    correlation_id: Annotated[str, Meta(max_length=200)] = ""


class ReplyToEvent(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `events.reply`."""

    event: Annotated[str, Meta(min_length=1, max_length=100)]
    """The id of the event."""
    data: Raw = _NIL


class EventHistory(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `events.history`."""

    pattern: Name = "*"
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class WireEvent(Struct, frozen=True, omit_defaults=True):
    """An event as a worker sees it."""

    id: str
    name: str
    data: Raw
    source: str
    """`host`, `app`, or a plugin's id: set by the host, never by who emits."""
    timestamp: float
    """Seconds since 1970, UTC, when the host took it."""
    correlation_id: str = ""
    parent: str = ""
    """The id of the event that was being handled where this one was emitted."""
    user_id: str = ""
    wants_reply: bool = False


class DeliverEvent(Struct, frozen=True, omit_defaults=True):
    """The parameters of `event`. The next one for a subscription comes after this is answered."""

    subscription: int
    event: Raw
    """A `WireEvent`."""
    lost: int = 0
    """Events of this subscription that were dropped since the last one: it was too slow."""
    redelivered: bool = False
    """Whether an earlier worker died with it, and may have handled it."""
