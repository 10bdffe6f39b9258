"""Throttle and debounce: which events of a subscription are passed on, and when."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from plughost.reactor import Reactor, TimerHandle

from .errors import InvalidEvent

__all__ = ["Pacer", "Pacing"]

T = TypeVar("T")

_PATIENCE: Final = 10  # times the quiet that is asked for, where no longest wait is given


class Pacing(Generic[T]):
    """The pace of one subscription. The clock is the caller's, in seconds.

    A throttle passes an event on at once, and those that follow too soon never. A debounce
    holds the last event until none has followed for a while, or until it has waited for long.
    """

    def __init__(
        self, throttle: float | None, debounce: float | None, max_wait: float | None
    ) -> None:
        """Raises `InvalidEvent` for what does not go together."""
        if throttle is not None and debounce is not None:
            raise InvalidEvent("", "a subscription has a throttle or a debounce, not both")
        if max_wait is not None and debounce is None:
            raise InvalidEvent("", "max_wait is for a debounce, and there is none")
        if any(seconds is not None and not seconds > 0 for seconds in (throttle, debounce)):
            raise InvalidEvent("", "a throttle or a debounce is more than 0 seconds")
        self.held: T | None = None
        """The event that waits for quiet."""
        self.due = 0.0
        """When the held event is passed on, if none follows."""
        self._throttle = throttle
        self._debounce = debounce
        self._max_wait = max_wait or (debounce or 0.0) * _PATIENCE
        self._last_passed: float | None = None
        self._held_since = 0.0

    def offer(self, item: T, now: float) -> tuple[T | None, T | None]:
        """What to pass on at once, and what is never passed on because of it."""
        if self._throttle is not None:
            last = self._last_passed
            if last is not None and now - last < self._throttle:
                return None, item
            self._last_passed = now
            return item, None
        if self._debounce is None:
            return item, None
        replaced, self.held = self.held, item
        if replaced is None:
            self._held_since = now
        self.due = min(now + self._debounce, self._held_since + self._max_wait)
        return None, replaced

    def take(self, now: float) -> T | None:
        """The held event, if it is time for it."""
        if self.held is None or now < self.due:
            return None
        item, self.held = self.held, None
        return item


class Pacer(Generic[T]):
    """A pacing with the timer that it needs: passes events on, or over."""

    def __init__(
        self,
        pacing: Pacing[T],
        reactor: Callable[[], Reactor],
        pass_on: Callable[[T], None],
        pass_over: Callable[[T], None],
    ) -> None:
        self._pacing = pacing
        self._reactor = reactor
        self._pass_on = pass_on
        self._pass_over = pass_over
        self._timer: TimerHandle | None = None

    @property
    def holds(self) -> bool:
        """Whether an event waits for quiet."""
        return self._pacing.held is not None

    def offer(self, item: T) -> None:
        """An event has come: it is passed on, passed over, or held for a while."""
        passed, left_out = self._pacing.offer(item, self._reactor().now())
        if left_out is not None:
            self._pass_over(left_out)
        if passed is not None:
            self._pass_on(passed)
        elif self.holds and self._timer is None:
            self._set_timer()

    def hurry(self) -> None:
        """Pass on at once what waits for quiet."""
        held = self.stop()
        if held is not None:
            self._pass_on(held)

    def stop(self) -> T | None:
        """End the timer. Answers with the event that was held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._pacing.held = self._pacing.held, None
        return held

    def _set_timer(self) -> None:
        # One timer for many events: it is set anew only when it goes off too early.
        self._timer = self._reactor().call_at(self._pacing.due, self._check)

    def _check(self) -> None:
        self._timer = None
        item = self._pacing.take(self._reactor().now())
        if item is not None:
            self._pass_on(item)
        elif self.holds:
            self._set_timer()
