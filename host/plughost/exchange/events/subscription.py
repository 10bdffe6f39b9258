"""What subscribers are made of: their subscriptions, their counters, and what they share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from plughost.catalog.event_names import EventPattern
from plughost.reactor import Reactor
from plughost.service_config import EventsConfig
from plughost.services.plugins import PluginCaller

from .backlog import Entry
from .event import Admitted
from .names import PatternIndex
from .pacing import Pacer
from .replies import Replies
from .trace import Trace

__all__ = ["Common", "EventStats", "Receiver", "Subscription"]


class Receiver(Protocol):
    """What an event reaches."""

    def receive(self, admitted: Admitted) -> None:
        """Take the event, or lose it: never wait."""


@dataclass(slots=True)
class EventStats:
    """What one plugin has had to do with events since the host started."""

    emitted: int = 0
    refused: int = 0
    """Events that it was not allowed to emit, or that a hook refused or stopped."""
    delivered: int = 0
    """Events that a handler of it has handled."""
    failed: int = 0
    """Events whose handler raised, or did not end in time."""
    lost: int = 0
    """Events that were dropped: the handlers were too slow, or their worker died twice."""
    passed_over: int = 0
    """Events that a throttle or a debounce left out."""
    waiting: int = 0
    """Events that wait now."""


class Common(Protocol):
    """What all subscribers share."""

    @property
    def config(self) -> EventsConfig: ...
    @property
    def reactor(self) -> Reactor: ...
    @property
    def plugins(self) -> PluginCaller: ...
    @property
    def index(self) -> PatternIndex[Receiver]: ...
    @property
    def trace(self) -> Trace: ...
    @property
    def replies(self) -> Replies: ...
    @property
    def log(self) -> Callable[[str, str, str], None]:
        """Writes into a plugin's log: its id, the level, the text."""


class Subscription:
    """One pattern that a plugin subscribes to."""

    __slots__ = (
        "_receive",
        "busy",
        "generation",
        "id",
        "lost",
        "once",
        "pacer",
        "pattern",
        "since",
        "text",
    )

    def __init__(
        self,
        receive: "Callable[[Subscription, Admitted], None]",
        number: int,
        pattern: EventPattern,
        pacer: Pacer[Entry["Subscription"]],
        *,
        generation: int,
        once: bool,
        since: int,
    ) -> None:
        self.id = number
        self.pattern = pattern
        self.text = str(pattern)
        self.pacer = pacer
        self.generation = generation
        self.once = once
        self.since = since
        """The number of the last event before it: it gets those that follow."""
        self.busy = False
        """Whether it is being delivered to, or waits for its turn."""
        self.lost = 0
        """Events dropped since the last delivery."""
        self._receive = receive

    def receive(self, admitted: Admitted) -> None:
        self._receive(self, admitted)
