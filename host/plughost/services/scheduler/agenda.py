"""What is to be done when: one timer for all appointments, by two clocks."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

from plughost.reactor import Reactor, TimerHandle

__all__ = ["Agenda", "Appointment"]

T = TypeVar("T")

_LOOK: Final = 60.0  # seconds, at most, until the wall clock is read again: it may be set
_SET_BACK: Final = 60.0  # seconds; less is a clock that is being kept right
_BATCH: Final = 100  # appointments in one turn of the loop
_STALE: Final = 64  # cancelled entries that may stay in a heap, beside as many as are alive


@dataclass(slots=True, order=True)
class Appointment(Generic[T]):
    """One entry. It goes off once."""

    due: float
    """On the clock of its heap."""
    number: int
    by_wall: bool = field(compare=False)
    item: T = field(compare=False)
    over: bool = field(default=False, compare=False)
    """Whether it has gone off or was cancelled."""


class Agenda(Generic[T]):
    """Calls `on_due` for each appointment at its time, in order; never more than one timer is set.

    An appointment is on the loop's monotonic clock or on the wall clock. The latter is read
    anew each minute, as it may be set, and as the monotonic one stands still while the machine
    is suspended. `on_set_back` is called when it was set back by more than a minute.
    """

    def __init__(
        self,
        reactor: Reactor,
        wall: Callable[[], float],
        on_due: Callable[[Appointment[T]], None],
        on_set_back: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._wall = wall
        self._on_due = on_due
        self._on_set_back = on_set_back
        self._heaps: dict[bool, list[Appointment[T]]] = {False: [], True: []}
        self._alive = {False: 0, True: 0}
        self._count = 0
        self._timer: TimerHandle | None = None
        self._at = math.inf
        self._offset = wall() - reactor.now()

    @property
    def is_idle(self) -> bool:
        """Whether no timer is set."""
        return self._timer is None

    def now(self, by_wall: bool) -> float:
        """Seconds on one of the clocks."""
        return self._wall() if by_wall else self._reactor.now()

    def add(self, due: float, by_wall: bool, item: T) -> Appointment[T]:
        """Make an appointment; one in the past is due at once, but not before this returns."""
        self._count += 1
        appointment = Appointment(due, self._count, by_wall, item)
        heappush(self._heaps[by_wall], appointment)
        self._alive[by_wall] += 1
        self._arm()
        return appointment

    def cancel(self, appointment: Appointment[T]) -> None:
        """Take it back, if it is not over."""
        if appointment.over:
            return
        appointment.over = True
        kind = appointment.by_wall
        self._alive[kind] -= 1
        if len(self._heaps[kind]) > 2 * self._alive[kind] + _STALE:
            self._heaps[kind] = [other for other in self._heaps[kind] if not other.over]
            heapify(self._heaps[kind])
        if not any(self._alive.values()):
            self.close()

    def close(self) -> None:
        """Forget all appointments."""
        self._disarm()
        self._heaps = {False: [], True: []}
        self._alive = {False: 0, True: 0}

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = math.inf

    def _arm(self) -> None:
        at = math.inf
        if first := self._first(by_wall=False):
            at = first.due
        if first := self._first(by_wall=True):
            left = min(max(first.due - self._wall(), 0.0), _LOOK)
            at = min(at, self._reactor.now() + left)
        if at < self._at:
            self._disarm()
            self._at = at
            self._timer = self._reactor.call_at(at, self._on_timer)

    def _first(self, by_wall: bool) -> Appointment[T] | None:
        heap = self._heaps[by_wall]
        while heap and heap[0].over:
            heappop(heap)
        return heap[0] if heap else None

    def _on_timer(self) -> None:
        self._timer = None
        self._at = math.inf
        try:
            self._look_at_the_clock()
            for by_wall in (False, True):
                self._go_off(by_wall)
        finally:
            self._arm()

    def _look_at_the_clock(self) -> None:
        offset = self._wall() - self._reactor.now()
        set_back = offset < self._offset - _SET_BACK
        self._offset = offset
        if set_back:
            self._on_set_back()

    def _go_off(self, by_wall: bool) -> None:
        now = self.now(by_wall)
        for _ in range(_BATCH):
            first = self._first(by_wall)
            if first is None or first.due > now:
                return
            heappop(self._heaps[by_wall])
            first.over = True
            self._alive[by_wall] -= 1
            self._on_due(first)
