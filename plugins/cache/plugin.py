"""Keeps values in memory for other plugins: all of them share it, a new worker begins at nothing.

The least recently used values go first, once there are too many or they take too much memory.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from plughost_sdk import Plugin, PluginAPI, ToolError, service, tool

Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1000)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=31_536_000)]
Size: TypeAlias = Annotated[int, Meta(ge=1, le=100_000)]

_MAX_BYTES: Final = 32_000_000  # of all keys and values; with its own cost, a part of the limit


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator may configure, and `configure` change."""

    max_size: Size = 1_000
    """Values that are kept."""
    ttl: Seconds = 3_600.0
    """How long one is kept that is set without a time."""


class Stats(Struct):
    """How the cache does."""

    entries: int
    bytes: int
    hits: int
    misses: int
    evictions: int
    max_size: int
    ttl: float


class Cache(Plugin):
    """The values; each method is a tool and a method of the service."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._config = Config()
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0
        self._hits = self._misses = self._evictions = 0

    async def on_load(self, api: PluginAPI) -> None:
        self._config = msgspec.convert(api.config, Config)

    @service("cache", idempotent=True)
    @tool(idempotent=True)
    async def get(self, key: Key) -> Any:
        """Get the value of a key; null where there is none, or no longer."""
        found = self._entries.get(key)
        if found is not None and found[1] <= self._now():
            self._drop(key)
            found = None
        if found is None:
            self._misses += 1
            return None
        self._hits += 1
        self._entries.move_to_end(key)
        return msgspec.msgpack.decode(found[0])

    @service("cache", idempotent=True)
    @tool(idempotent=True)
    async def set(self, key: Key, value: Any, ttl: Seconds | None = None) -> bool:
        """Keep a value.

        Args:
            key: The name to find it by.
            value: Anything.
            ttl: Seconds for which it is kept.
        """
        data = msgspec.msgpack.encode(value)
        size = len(key.encode()) + len(data)
        if size > _MAX_BYTES:
            raise ToolError(f"{size} bytes are over {_MAX_BYTES}", code="too_large")
        self._drop(key)
        self._entries[key] = data, self._now() + (ttl or self._config.ttl)
        self._bytes += size
        self._evict()
        return True

    @service("cache", idempotent=True)
    @tool(idempotent=True)
    async def delete(self, key: Key) -> bool:
        """Forget a key; tells whether it was there."""
        return self._drop(key)

    @service("cache", idempotent=True)
    @tool(idempotent=True)
    async def clear(self) -> int:
        """Forget everything; tells how many values there were."""
        count = len(self._entries)
        self._entries.clear()
        self._bytes = 0
        return count

    @service("cache", idempotent=True)
    @tool(idempotent=True)
    async def stats(self) -> Stats:
        """See how many values there are, and how often they were found."""
        return Stats(
            entries=len(self._entries),
            bytes=self._bytes,
            hits=self._hits,
            misses=self._misses,
            evictions=self._evictions,
            max_size=self._config.max_size,
            ttl=self._config.ttl,
        )

    @tool(idempotent=True)
    async def configure(self, max_size: Size | None = None, ttl: Seconds | None = None) -> Stats:
        """Change how many values are kept, and for how long those without a time of their own."""
        config = self._config
        self._config = Config(max_size or config.max_size, ttl or config.ttl)
        self._evict()
        return await self.stats()

    def _drop(self, key: str) -> bool:
        found = self._entries.pop(key, None)
        if found is None:
            return False
        self._bytes -= len(key.encode()) + len(found[0])
        return True

    def _evict(self) -> None:
        while len(self._entries) > self._config.max_size or self._bytes > _MAX_BYTES:
            self._drop(next(iter(self._entries)))
            self._evictions += 1
