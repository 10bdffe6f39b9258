"""The way of each of the last events: who caused it, who got it, and what became of that."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from .event import Event

__all__ = ["Delivery", "Trace", "TraceNode"]

WAITING: Final = "waiting"
_DELIVERIES_AN_EVENT: Final = 10  # on average, over all events that are kept


@dataclass(slots=True)
class Delivery:
    """One event on its way to one subscription. Times are seconds since the event was taken."""

    receiver: str
    """The id of a plugin, or `app`."""
    pattern: str
    queued: float
    started: float | None = None
    ended: float | None = None
    outcome: str = WAITING
    """`waiting`, `running`, `handled`, `lost`, `passed over` by its pace, or how it failed."""


@dataclass(slots=True)
class TraceNode:
    """An event with its deliveries and the events that their handlers emitted."""

    id: str
    name: str
    source: str
    timestamp: float
    correlation_id: str
    parent: str
    deliveries: list[Delivery] = field(default_factory=list)
    replied: str = ""
    """Who replied first, where it was a request."""
    stopped: str = ""
    """Why it reached nobody: a hook stopped it."""
    caused: "list[TraceNode]" = field(default_factory=list)


class _Kept:
    __slots__ = ("at", "children", "node")

    def __init__(self, node: TraceNode, at: float) -> None:
        self.node = node
        self.at = at
        self.children: list[str] = []


class Trace:
    """The traces of the last events; bounded by the number of events and of deliveries."""

    def __init__(self, max_events: int, clock: Callable[[], float]) -> None:
        self._max_events = max_events
        self._max_deliveries = max_events * _DELIVERIES_AN_EVENT
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._deliveries = 0

    def began(self, event: Event, stopped: str = "") -> None:
        """An event was taken, or stopped."""
        node = TraceNode(
            event.id,
            event.name,
            event.source,
            event.timestamp,
            event.correlation_id,
            event.parent,
            stopped=stopped,
        )
        self._kept[event.id] = _Kept(node, self._clock())
        if parent := self._kept.get(event.parent):
            parent.children.append(event.id)
        self._forget()

    def queued(self, event: Event, receiver: str, pattern: str) -> Delivery:
        """The event is on its way to a subscription. What comes of it is noted on the answer."""
        kept = self._kept.get(event.id)
        delivery = Delivery(receiver, pattern, self.since(event.id))
        if kept is not None:
            kept.node.deliveries.append(delivery)
            self._deliveries += 1
            self._forget()
        return delivery

    def since(self, event_id: str) -> float:
        """Seconds since the event was taken."""
        kept = self._kept.get(event_id)
        return 0.0 if kept is None else self._clock() - kept.at

    def started(self, event: Event, delivery: Delivery) -> None:
        """Its handler runs."""
        delivery.started = self.since(event.id)
        delivery.outcome = "running"

    def ended(self, event: Event, delivery: Delivery, outcome: str) -> None:
        """It is delivered, or never will be."""
        delivery.ended = self.since(event.id)
        delivery.outcome = outcome

    def replied(self, event_id: str, receiver: str) -> None:
        """Somebody has replied."""
        if kept := self._kept.get(event_id):
            kept.node.replied = receiver

    def trees(self, wanted: str = "", limit: int = 20) -> list[TraceNode]:
        """The last events that nothing caused, oldest first, with all that they caused.

        With `wanted`: the event of this id, or those with this correlation id.
        """
        if wanted in self._kept:
            return [self._tree(wanted)]
        roots: deque[str] = deque()
        for event_id, kept in reversed(self._kept.items()):
            if len(roots) >= limit:
                break
            node = kept.node
            if wanted == node.correlation_id if wanted else node.parent not in self._kept:
                roots.appendleft(event_id)
        return [self._tree(event_id) for event_id in roots]

    def _tree(self, event_id: str) -> TraceNode:
        """The node with its children below it. Depth is bounded, as hops are."""
        kept = self._kept[event_id]
        node = kept.node
        return TraceNode(
            node.id,
            node.name,
            node.source,
            node.timestamp,
            node.correlation_id,
            node.parent,
            list(node.deliveries),
            node.replied,
            node.stopped,
            [self._tree(child) for child in self._living(kept.children)],
        )

    def _living(self, children: Iterable[str]) -> Iterable[str]:
        return (child for child in children if child in self._kept)

    def _forget(self) -> None:
        while self._kept and (
            len(self._kept) > self._max_events or self._deliveries > self._max_deliveries
        ):
            _, kept = self._kept.popitem(last=False)
            self._deliveries -= len(kept.node.deliveries)
