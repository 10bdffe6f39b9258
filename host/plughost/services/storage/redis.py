"""The store in a Redis server, which several hosts can share.

The client is redis-py's blocking one, in threads of anyio: its own asyncio client does not run
on trio. A plugin's keys there:

    plughost:plugin:ID:SCOPE:NAMESPACE:KEY  the value; SCOPE is `plugin` or `user=USER`
    plughost:storage:ID:names               a sorted set of all `SCOPE:NAMESPACE:KEY`
    plughost:storage:ID:sizes               a hash: the bytes of each, and of all as ``
    plughost:storage:ID:expiry              a sorted set: when those with a time to live end

In user and namespace `%` and `:` are written `%25` and `%3A`, so no two entries share a key.
"""

import logging
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from plughost.errors import HostMisuse
from plughost.services.storage.store import Quota, Space
from plughost.services.store_errors import StoreUnavailable

__all__ = ["RedisStore"]

T = TypeVar("T")

_log: Final = logging.getLogger("plughost.services")

_TIMEOUT: Final = 5.0
_THREADS: Final = 16  # and so connections

# Redis removes a value that has expired by itself, and knows nothing of its size and name.
_FORGET_EXPIRED: Final = """
local names, sizes, expiry, values = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function forget(member)
    redis.call('HINCRBY', sizes, '', -(redis.call('HGET', sizes, member) or 0))
    redis.call('HDEL', sizes, member)
    redis.call('ZREM', names, member)
    redis.call('ZREM', expiry, member)
    redis.call('DEL', values .. member)
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', expiry, '-inf', now)) do
    forget(member)
end
"""
_SET: Final = """
local member, value, size, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local old = tonumber(redis.call('HGET', sizes, member))
local has = tonumber(redis.call('HGET', sizes, '')) or 0
local would_be = has + size - (old or 0)
if would_be > tonumber(ARGV[5]) and would_be > has then
    return {'size', would_be}
end
local keys = redis.call('ZCARD', names)
if not old and keys >= tonumber(ARGV[6]) then
    return {'keys', keys + 1}
end
redis.call('SET', values .. member, value)
redis.call('HSET', sizes, member, size, '', would_be)
redis.call('ZADD', names, 0, member)
if ttl > 0 then
    redis.call('PEXPIREAT', values .. member, now + ttl)
    redis.call('ZADD', expiry, now + ttl, member)
else
    redis.call('ZREM', expiry, member)
end
return {}
"""
_DELETE: Final = """
if redis.call('HEXISTS', sizes, ARGV[1]) == 0 then
    return redis.call('DEL', values .. ARGV[1])
end
forget(ARGV[1])
return 1
"""
_LIST: Final = "return redis.call('ZRANGEBYLEX', names, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])"
_CLEAR: Final = """
local members = redis.call('ZRANGEBYLEX', names, ARGV[1], ARGV[2])
for _, member in ipairs(members) do
    forget(member)
end
return #members
"""


class RedisStore:
    """Entries in a Redis server. How well they are kept there is the server's configuration."""

    def __init__(self, url: str, timeout: float = _TIMEOUT) -> None:
        """`timeout`: seconds to connect, and for an answer of at most 10 MB.

        Raises `HostMisuse` for a URL that is none, and where redis-py is missing.
        """
        try:
            redis: Any = import_module("redis")
        except ImportError as exc:
            raise HostMisuse(
                "a store in Redis needs the package redis: pip install 'plughost[redis]'"
            ) from exc
        self._error: type[Exception] = redis.RedisError
        self._unreachable = redis.ConnectionError, redis.TimeoutError
        self._failed_at = 0.0
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                # What it would try again may have been done: who deletes must not be told
                # that there was nothing. Idle connections that broke are replaced before.
                retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            )
        except ValueError as exc:
            # It can hold a password: it is not repeated.
            raise HostMisuse("StorageConfig.url is no URL of a Redis server") from exc
        self._set, self._delete, self._list, self._clear = (
            self._client.register_script(_FORGET_EXPIRED + script)
            for script in (_SET, _DELETE, _LIST, _CLEAR)
        )
        self._threads = anyio.CapacityLimiter(_THREADS)
        self._failing = False

    async def aclose(self) -> None:
        await anyio.to_thread.run_sync(self._client.close)

    def peek(self, space: Space, key: str) -> None:
        """Never without a wait."""

    async def get(self, space: Space, key: str) -> bytes | None:
        value: bytes | None = await self._do(lambda: self._client.get(_value_key(space, key)))
        return value

    async def has(self, space: Space, key: str) -> bool:
        return bool(await self._do(lambda: self._client.exists(_value_key(space, key))))

    async def set(
        self, space: Space, key: str, value: bytes, ttl: float | None, quota: Quota
    ) -> None:
        size = len(key.encode()) + len(value)
        milliseconds = 0 if ttl is None else max(1, round(ttl * 1000))
        refused = await self._run(
            self._set, space, _member(space, key), value, size, milliseconds, *quota
        )
        if refused:
            what, would_be = refused
            refusal = quota.too_large if what == b"size" else quota.too_many
            raise refusal(space.plugin_id, would_be)

    async def delete(self, space: Space, key: str) -> bool:
        return bool(await self._run(self._delete, space, _member(space, key)))

    async def list(self, space: Space, prefix: str, after: str, limit: int) -> list[str]:
        start = _member(space, "")
        first = b"[" + start + prefix.encode()
        if after >= prefix:
            first = b"(" + start + after.encode()
        # No byte of UTF-8 is 0xff.
        end = b"(" + start + prefix.encode() + b"\xff"
        members = await self._run(self._list, space, first, end, limit)
        return [member[len(start) :].decode() for member in members]

    async def clear(self, space: Space) -> int:
        start = _member(space, "")
        return int(await self._run(self._clear, space, b"[" + start, b"(" + start + b"\xff"))

    async def _run(self, script: Callable[..., Any], space: Space, *args: object) -> Any:
        books = f"plughost:storage:{space.plugin_id}:"
        keys = [f"{books}names", f"{books}sizes", f"{books}expiry", _values(space)]
        return await self._do(lambda: script(keys, args))

    async def _do(self, function: Callable[[], T]) -> T:
        asked = time.monotonic()

        def ask() -> T:
            # Who waits behind one that got no answer has waited for as long as that one.
            if asked < self._failed_at:
                raise self._error("it did not answer those who asked before")
            try:
                return function()
            except self._unreachable:
                self._failed_at = time.monotonic()
                raise

        try:
            result = await anyio.to_thread.run_sync(ask, limiter=self._threads)
        except self._error as exc:
            failure = StoreUnavailable("the Redis server of the storage", str(exc))
            if not self._failing:  # once, not for each request of each plugin
                self._failing = True
                _log.error("storage: %s", failure)
            raise failure from exc
        self._failing = False
        return result


def _values(space: Space) -> str:
    return f"plughost:plugin:{space.plugin_id}:"


def _member(space: Space, key: str) -> bytes:
    scope = "plugin" if space.user is None else f"user={_escaped(space.user)}"
    return f"{scope}:{_escaped(space.namespace)}:{key}".encode()


def _value_key(space: Space, key: str) -> bytes:
    return _values(space).encode() + _member(space, key)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace(":", "%3A")
