"""Tasks that answer requests, each of which the other side may take back."""

from collections.abc import Awaitable, Callable, Hashable, Iterator
from typing import Generic, TypeVar

import anyio

from plughost.reactor import Reactor

__all__ = ["Jobs"]

K = TypeVar("K", bound=Hashable)


class Jobs(Generic[K]):
    """Tasks by key, until they end."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        # None until the task has begun: a scope cannot be made in a callback of the loop.
        self._scopes: dict[K, anyio.CancelScope | None] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def __iter__(self) -> Iterator[K]:
        return iter(list(self._scopes))

    def start(
        self, key: K, work: Callable[[], Awaitable[None]], cancelled: Callable[[], None]
    ) -> None:
        """Run `work`, which ends its own exceptions, or call `cancelled` when it is taken back."""
        self._scopes[key] = None
        self._reactor.spawn(self._run, key, work, cancelled)

    def cancel(self, key: K) -> None:
        """Take one back, begun or not; one that has ended is let be."""
        if scope := self._scopes.get(key):
            scope.cancel()
        else:  # its task finds it gone
            self._scopes.pop(key, None)

    def cancel_all(self) -> None:
        """Take all of them back."""
        for key in self:
            self.cancel(key)

    async def _run(
        self, key: K, work: Callable[[], Awaitable[None]], cancelled: Callable[[], None]
    ) -> None:
        try:
            with anyio.CancelScope() as scope:
                if key in self._scopes:
                    self._scopes[key] = scope
                    await work()
                    return
        finally:
            self._scopes.pop(key, None)
        cancelled()
