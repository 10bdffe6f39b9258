"""The last events, as many as fit."""

from collections import deque

from plughost.catalog.event_names import EventPattern

from .event import Admitted, Event

__all__ = ["History"]


class History:
    """A ring that is bounded by count and by bytes."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[Admitted] = deque()
        self._bytes = 0

    def add(self, admitted: Admitted) -> None:
        """Keep an event, and let the oldest go for it."""
        self._events.append(admitted)
        self._bytes += admitted.size
        while self._events and (
            len(self._events) > self._max_events or self._bytes > self._max_bytes
        ):
            self._bytes -= self._events.popleft().size

    def last(self, pattern: EventPattern, limit: int, max_bytes: float) -> list[Event]:
        """The last events that match, oldest first: at most `limit`, and so many bytes."""
        found: list[Event] = []
        size = 0
        for admitted in reversed(self._events):
            if len(found) >= limit:
                break
            if pattern.matches(admitted.name):
                size += admitted.size
                if size > max_bytes:
                    break
                found.append(admitted.event)
        found.reverse()
        return found
