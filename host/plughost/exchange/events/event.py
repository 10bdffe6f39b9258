"""One event: what it is, where it comes from, and what caused it."""

import math
import re
import secrets
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
from msgspec import Raw

from plughost.exchange.chain import links_of
from plughost_protocol import CallMeta, MalformedMessage, check_values, decode_value, encode
from plughost_protocol.events import WireEvent

from .errors import InvalidEvent

__all__ = ["APPLICATION", "HOST", "Admitted", "Event", "Origin", "encode_data", "new_event_id"]

HOST: Final = "host"
"""The source of what the host itself emits."""
APPLICATION: Final = "app"

_OVERHEAD: Final = 1000  # bytes that an event takes besides its data, about
_LINK: Final = re.compile(r"event:([0-9a-f]{16}):(\d{1,4})")


@dataclass(frozen=True, slots=True)
class Event:
    """An event that the host has taken. Nobody but the host sets what it says of itself."""

    id: str
    name: str
    """As it was emitted: `session:created`."""
    raw: bytes
    """Its data, encoded."""
    source: str
    """`host`, `app`, or the id of the plugin that emitted it."""
    timestamp: float
    """Seconds since 1970, UTC, when the host took it."""
    correlation_id: str = ""
    parent: str = ""
    """The id of the event whose handler emitted it."""
    depth: int = 0
    """Events that led here, one the cause of the next."""
    user_id: str = ""
    request_id: str = ""
    trace: str = ""
    """A W3C `traceparent`."""
    wants_reply: bool = False
    lost: int = 0
    """As a subscriber of the application gets it: events that it lost just before this one."""

    @property
    def data(self) -> Any:
        """What it carries: a copy of one's own, at each look."""
        return decode_value(self.raw)

    def with_data(self, data: object) -> "Event":
        """The same event with other data. Raises `InvalidEvent`."""
        return replace(self, raw=encode_data(self.name, data, math.inf))

    @property
    def wire(self) -> WireEvent:
        """As a worker gets it."""
        return WireEvent(
            id=self.id,
            name=self.name,
            data=Raw(self.raw),
            source=self.source,
            timestamp=self.timestamp,
            correlation_id=self.correlation_id,
            parent=self.parent,
            user_id=self.user_id,
            wants_reply=self.wants_reply,
        )

    @property
    def meta(self) -> CallMeta:
        """What goes with a call of its handler; what that causes is traced back by the caller."""
        return CallMeta(
            caller=f"event:{self.id}:{self.depth}",
            user_id=self.user_id,
            request_id=self.request_id,
            trace=self.trace,
        )

    def __repr__(self) -> str:
        return f"<Event {self.name} {self.id} from {self.source}, {len(self.raw)} bytes>"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who emits, and on behalf of what."""

    source: str
    parent: str = ""
    depth: int = 0
    user_id: str = ""
    request_id: str = ""
    trace: str = ""

    @classmethod
    def of_call(cls, source: str, meta: CallMeta | None) -> "Origin":
        """The origin of what is emitted for the host's call that `meta` went with."""
        if meta is None:
            return cls(source)
        return cls.caused(source, meta.caller, meta.user_id, meta.request_id, meta.trace)

    @classmethod
    def caused(
        cls, source: str, caller: str, user_id: str = "", request_id: str = "", trace: str = ""
    ) -> "Origin":
        """The origin after a chain of callers: the last event in it is the cause."""
        parent, depth = _cause(caller) if "event:" in caller else ("", 0)
        return cls(source, parent, depth, user_id, request_id, trace)


def _cause(caller: str) -> tuple[str, int]:
    """The id of the last event in a chain of callers, and the hops to what it causes."""
    for link in reversed(links_of(caller)):
        # All of a link: a plugin has a say in the others, such as the names of its tasks.
        if found := _LINK.fullmatch(link):
            return found[1], int(found[2]) + 1
    return "", 0


class Admitted:
    """An event on its way to its subscribers, encoded once for all of them."""

    __slots__ = ("_wire", "event", "name", "number", "size")

    def __init__(self, event: Event, name: str, number: int) -> None:
        self.event = event
        self.name = name
        """The name in its one form."""
        self.number = number
        """Its place among all events of the host."""
        self.size = size_of(event)
        self._wire: Raw | None = None

    @property
    def wire(self) -> Raw:
        if self._wire is None:
            self._wire = Raw(encode(self.event.wire))
        return self._wire


def size_of(event: Event) -> int:
    """Bytes that an event takes while it is kept."""
    return len(event.raw) + _OVERHEAD


def new_event_id() -> str:
    """Not a count: a plugin has no business to know how much the others emit."""
    return secrets.token_hex(8)


def encode_data(name: str, data: object, limit: float) -> bytes:
    """The bytes of an event's data. Raises `InvalidEvent` for what cannot be sent."""
    try:
        raw = encode(data)
        check_values(raw)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as exc:
        raise InvalidEvent(name, f"its data cannot be sent: {exc}") from exc
    except MalformedMessage as exc:
        raise InvalidEvent(name, f"its data cannot be sent: {exc.reason}") from exc
    check_size(name, len(raw), limit)
    return raw


def check_size(name: str, size: int, limit: float) -> None:
    """Raises `InvalidEvent` where data is over the limit."""
    if size > limit:
        raise InvalidEvent(
            name, f"its data takes {size} bytes of {limit:.0f}: store it, and send where it is"
        )
