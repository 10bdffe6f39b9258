"""One timer for the deadlines of all calls that are open on a channel."""

import math
from collections.abc import Callable, Collection

from plughost.reactor import Reactor, TimerHandle

from .calls import OpenCall

__all__ = ["Deadlines"]


class Deadlines:
    """Calls `on_due` for each open call whose time has come.

    A new call costs one comparison: the timer is set anew only for one that is due before all
    others. When it goes off, the open calls are looked through; most have ended by then.
    """

    def __init__(
        self,
        reactor: Reactor,
        calls: Callable[[], Collection[OpenCall]],
        on_due: Callable[[OpenCall, float], None],
    ) -> None:
        self._reactor = reactor
        self._calls = calls
        self._on_due = on_due
        self._timer: TimerHandle | None = None
        self._at = math.inf

    def watch(self, call: OpenCall) -> None:
        """Look after a call that is new, or whose due time may have changed."""
        due = call.due
        if due < self._at:
            self._cancel()
            self._at = due
            self._timer = self._reactor.call_at(due, self._on_timer)

    def close(self) -> None:
        """Set no timer from now on."""
        self._cancel()
        self._at = -math.inf

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._at = math.inf
        now = self._reactor.now()
        for call in [call for call in self._calls() if call.due <= now]:
            self._on_due(call, now)
        if calls := self._calls():  # none, if one of them closed the channel
            self.watch(min(calls, key=lambda call: call.due))
