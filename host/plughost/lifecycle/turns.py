"""The commands on one plugin: one at a time, each with a deadline and one outcome."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from plughost.errors import CommandTimeout

__all__ = ["Turns"]

T = TypeVar("T")


class Turns:
    """Lets one command after the other act on a plugin, in the order in which they came."""

    def __init__(self, plugin_id: str) -> None:
        self.under_way = ""
        """The command that acts now."""
        self._id = plugin_id
        self._lock = anyio.Lock()

    async def take(self, command: str, deadline: float, act: Callable[[], Awaitable[T]]) -> T:
        """What `act` gives, within so many seconds, those included that others' commands take.

        Raises `CommandTimeout`; `act` is cancelled then, and leaves things as they should be.
        """
        began = False
        with anyio.move_on_after(deadline):
            async with self._lock:
                began = True
                self.under_way = command
                try:
                    return await act()
                finally:
                    self.under_way = ""
        raise CommandTimeout(self._id, command, deadline, "" if began else self.under_way)
