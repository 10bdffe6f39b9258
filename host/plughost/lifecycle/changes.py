"""Tasks that wait until something has changed."""

from plughost.reactor import Reactor, Waiter

__all__ = ["Changes"]


class Changes:
    """Wakes all who wait at each change: they look again, and wait again if they have to."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._waiters: list[Waiter[None]] = []

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiters)

    async def next(self) -> None:
        """Return at the next change."""
        waiter = self._reactor.waiter()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def tell(self) -> None:
        """Something has changed."""
        waiting, self._waiters = self._waiters, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)
