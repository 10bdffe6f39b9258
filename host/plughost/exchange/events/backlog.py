"""What waits for one subscriber: bounded, and the oldest is lost first."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

from .event import Admitted
from .trace import Delivery

__all__ = ["Backlog", "Entry"]

L = TypeVar("L")


class Entry(Generic[L]):
    """One event that waits for one subscription, its lane."""

    __slots__ = ("admitted", "attempts", "delivery", "lane")

    def __init__(self, lane: L, admitted: Admitted, delivery: Delivery) -> None:
        self.lane = lane
        self.admitted = admitted
        self.delivery = delivery
        self.attempts = 0
        """Workers that died with it."""


class Backlog(Generic[L]):
    """Entries in the order in which they came, over all lanes, and the same by lane."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0
        self._order: OrderedDict[Entry[L], None] = OrderedDict()
        self._lanes: dict[L, deque[Entry[L]]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def waits(self, lane: L) -> bool:
        """Whether anything waits in this lane."""
        return lane in self._lanes

    def put(self, entry: Entry[L]) -> list[Entry[L]]:
        """Add an entry at the end. Answers with those that are lost for it, which may be itself."""
        self._order[entry] = None
        self._lanes.setdefault(entry.lane, deque()).append(entry)
        self._bytes += entry.admitted.size
        lost = []
        while len(self._order) > self._max_events or self._bytes > self._max_bytes:
            oldest = next(iter(self._order))
            self.take(oldest.lane)
            lost.append(oldest)
        return lost

    def put_back(self, entry: Entry[L]) -> None:
        """Add an entry that was taken, before all others."""
        self._order[entry] = None
        self._order.move_to_end(entry, last=False)
        self._lanes.setdefault(entry.lane, deque()).appendleft(entry)
        self._bytes += entry.admitted.size

    def take(self, lane: L) -> Entry[L] | None:
        """The oldest entry of a lane, which no longer waits."""
        waiting = self._lanes.get(lane)
        if waiting is None:
            return None
        entry = waiting.popleft()
        if not waiting:
            del self._lanes[lane]
        del self._order[entry]
        self._bytes -= entry.admitted.size
        return entry

    def take_all(self, lane: L) -> list[Entry[L]]:
        """All entries of a lane."""
        taken = []
        while (entry := self.take(lane)) is not None:
            taken.append(entry)
        return taken
