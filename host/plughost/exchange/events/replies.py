"""Requests by event: who may reply, and which reply is the first."""

from typing import Any

import anyio

from plughost.errors import CallTimeout
from plughost.reactor import Waiter

from .errors import NoReply, NotYourEvent
from .event import APPLICATION, Event

__all__ = ["Replies"]


class _Pending:
    def __init__(self, waiter: Waiter[bytes]) -> None:
        self.waiter = waiter
        self.received: set[str] = set()
        self.receivers = 0
        self.failed = 0


class Replies:
    """Requests that wait for their reply."""

    def __init__(self) -> None:
        self._pending: dict[str, _Pending] = {}

    def expect(self, event: Event, waiter: Waiter[bytes]) -> None:
        """A reply to this event is wanted: to be called before anybody gets it."""
        self._pending[event.id] = _Pending(waiter)

    async def wait(self, event: Event, timeout: float) -> bytes:
        """The data of the first reply. Raises `CallTimeout`, `NoReply`."""
        waiter: Any = self._pending[event.id].waiter
        try:
            with anyio.fail_after(timeout):
                reply: bytes = await waiter
                return reply
        except TimeoutError:
            raise CallTimeout(f"event {event.name}", timeout) from None
        finally:
            self.forget(event)

    def forget(self, event: Event) -> None:
        """Nobody waits any more."""
        self._pending.pop(event.id, None)

    def sent(self, event: Event, receivers: int) -> None:
        """The event is about to go to so many subscriptions."""
        if pending := self._pending.get(event.id):
            pending.receivers = receivers

    def received(self, event: Event, receiver: str) -> None:
        """A plugin gets it, and may reply from now on."""
        if pending := self._pending.get(event.id):
            pending.received.add(receiver)

    def failed(self, event: Event) -> None:
        """One of those on whose way it was will not reply."""
        pending = self._pending.get(event.id)
        if pending is None:
            return
        pending.failed += 1
        if pending.failed >= pending.receivers and not pending.waiter.done():
            pending.waiter.set_exception(NoReply(event.name, pending.receivers))

    def reply(self, event_id: str, receiver: str, raw: bytes) -> bool:
        """Whether this was the first reply, and in time. Raises `NotYourEvent`."""
        pending = self._pending.get(event_id)
        if pending is None:
            return False
        if receiver != APPLICATION and receiver not in pending.received:
            raise NotYourEvent(event_id)
        if pending.waiter.done():
            return False
        pending.waiter.set_result(raw)
        return True
