"""What a worker has registered while it was loaded, so that it can be registered once more."""

from typing import Final

from msgspec import Raw, Struct

__all__ = ["Record", "Registration"]

# Every registry has bounds of its own; what a plugin adds and takes back all the time meets these.
_MOST: Final = 5_000
_MAX_BYTES: Final = 16 * 1024 * 1024


class Registration(Struct, frozen=True, array_like=True):
    """A request that was granted: one that adds to what the plugin offers, or takes it back."""

    method: str
    params: Raw
    """As msgpack."""


class Record:
    """The registrations of one worker, in the order in which they were granted."""

    def __init__(self) -> None:
        self.is_too_long = False
        """Whether there were more than are kept: then none is."""
        self._made: list[Registration] = []
        self._size = 0

    def note(self, method: str, params: Raw) -> None:
        """One more was granted."""
        if self.is_too_long:
            return
        self._size += memoryview(params).nbytes
        if self._size > _MAX_BYTES or len(self._made) == _MOST:
            self.is_too_long = True
            self._made.clear()
            return
        self._made.append(Registration(method, Raw(bytes(params))))

    @property
    def made(self) -> tuple[Registration, ...]:
        return tuple(self._made)
