"""The editions of one plugin that no call comes to any more, until they have ended."""

from collections.abc import Callable, Iterator
from typing import Final

from plughost.reactor import Reactor

from .edition import Edition

__all__ = ["Outgoing"]

_MAX: Final = 3  # workers that were replaced and have calls to end


class Outgoing:
    """Sees editions off that were replaced, rolled back or put to sleep."""

    def __init__(self, reactor: Reactor, changed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._changed = changed
        self._editions: list[Edition] = []

    def __len__(self) -> int:
        return len(self._editions)

    def __iter__(self) -> Iterator[Edition]:
        return iter(self._editions)

    def is_full(self) -> bool:
        """Whether another edition has to wait until one has ended."""
        return len(self._editions) >= _MAX

    def add(self, edition: Edition, drain: float | None = None) -> None:
        """End an edition when its calls have, which `drain` gives so many seconds."""
        self._editions.append(edition)
        self._reactor.spawn(self._see_off, edition, drain)

    def hurry(self, drain: float) -> None:
        """Give the calls of all no more than so many seconds."""
        for edition in self._editions:
            edition.hurry(drain)

    async def _see_off(self, edition: Edition, drain: float | None) -> None:
        try:
            # No call outlives its total, and what hangs is killed.
            most = edition.limits.call_total + edition.limits.grace
            await edition.retire(most if drain is None else drain)
        finally:
            await edition.discard("replaced")
            self._editions.remove(edition)
            self._changed()
