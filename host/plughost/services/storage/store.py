"""What a store of plugins' values does."""

from typing import NamedTuple, Protocol

from plughost.errors import QuotaExceeded

__all__ = ["MAX_PAGE", "Quota", "Space", "Store"]

MAX_PAGE = 1000
"""Keys that one listing gives."""


class Space(NamedTuple):
    """Where an entry is: the same key in two spaces is two entries."""

    plugin_id: str
    user: str | None
    """None for what all users share."""
    namespace: str


class Quota(NamedTuple):
    """What one plugin may keep in all its spaces together."""

    size: int
    """Bytes of keys and values."""
    keys: int

    def too_large(self, plugin_id: str, size: int) -> QuotaExceeded:
        """The error where there would be so many bytes."""
        return QuotaExceeded(
            plugin_id, "bytes in its storage", size, self.size, "Limits.storage_size"
        )

    def too_many(self, plugin_id: str, keys: int) -> QuotaExceeded:
        """The error where there would be so many keys."""
        return QuotaExceeded(
            plugin_id, "keys in its storage", keys, self.keys, "Limits.storage_keys"
        )


class Store(Protocol):
    """Keeps entries; one that has expired is in no answer and counts for nothing.

    Every method may be called by many tasks at once, on asyncio and on trio. What has returned
    is kept; what raised or was cancelled is done as a whole or not at all. Those that wait raise
    `StoreError`.
    """

    async def aclose(self) -> None:
        """Called once, after what was asked is done. What is kept stays."""

    def peek(self, space: Space, key: str) -> tuple[bytes | None] | None:
        """What `get` would give, where it would give it without a wait; else None."""

    async def get(self, space: Space, key: str) -> bytes | None:
        """The value; None where there is none."""

    async def has(self, space: Space, key: str) -> bool:
        """Whether there is such an entry."""

    async def set(
        self, space: Space, key: str, value: bytes, ttl: float | None, quota: Quota
    ) -> None:
        """Keep a value in place of what was there, for `ttl` seconds or for good.

        Raises `QuotaExceeded`, and what was there is left, where the plugin would then have more
        than its quota and more than before.
        """

    async def delete(self, space: Space, key: str) -> bool:
        """Whether there was such an entry; now there is none."""

    async def list(self, space: Space, prefix: str, after: str, limit: int) -> list[str]:
        """The first keys with this prefix behind `after`, in the order of their code points."""

    async def clear(self, space: Space) -> int:
        """How many entries there were in the space; now there are none."""
