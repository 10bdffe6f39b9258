"""The host service `storage`: values that outlive the worker, by key, within a quota."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from plughost.config import HostConfig
from plughost.errors import InvalidParams, Overloaded, PlughostError
from plughost.services.router import Request, ServiceMethod
from plughost.services.service import HostService
from plughost.services.storage.store import MAX_PAGE, Quota, Space, Store
from plughost.services.store_errors import StoreError, told_to_plugin
from plughost_protocol import ErrorCode, MalformedMessage, decode_checked

__all__ = ["StorageService"]

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=512)]
Prefix: TypeAlias = Annotated[str, Meta(max_length=512)]
Namespace: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
User: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1000)]
# Less would be over before the answer is read; more is ten years.
Lifetime: TypeAlias = Annotated[float, Meta(ge=0.01, le=315_360_000)]


class _Place(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the parameters of all methods have: the space that they are about."""

    scope: Literal["plugin", "user"] = "plugin"
    namespace: Namespace = "default"
    user: User | None = None
    """Whose space; None for the user for whom the running call is made."""

    def __post_init__(self) -> None:
        if self.user is not None and self.scope != "user":
            raise ValueError("a user is given, and the scope is `plugin`: make it `user`")
        _refuse_controls("the namespace", self.namespace)


class _Entry(_Place, frozen=True, forbid_unknown_fields=True, kw_only=True):
    key: Key

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_controls("the key", self.key)


class _Set(_Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    value: Raw
    ttl: Lifetime | None = None
    """Seconds; None for good."""


class _List(_Place, frozen=True, forbid_unknown_fields=True, kw_only=True):
    prefix: Prefix = ""
    after: Prefix = ""
    """The last key of the page before."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_controls("the prefix", self.prefix)


def _refuse_controls(what: str, text: str) -> None:
    if found := _CONTROL.search(text):
        raise ValueError(f"{what} has the control character {found[0]!r} at {found.start()}")


class _NoUser(PlughostError):
    """Raised for the scope `user` where nobody knows which."""

    code = ErrorCode.INVALID_PARAMS

    def __init__(self) -> None:
        super().__init__(
            "the scope `user` needs a user, and this is asked for no call that runs for one: "
            "give it as `user`, or have the caller name it in its CallContext"
        )


class _Foreign(StoreError):
    """Raised where somebody else wrote into the store: as an answer it would break the frame."""

    def __init__(self, key: str) -> None:
        super().__init__(f"what the storage has for {key!r} was not written by plughost")

    summary = "what it has for this key was not written by plughost: delete it"


class StorageService(HostService):
    """The table of `storage`, over a store that serves all plugins."""

    def __init__(self, config: HostConfig, store: Store) -> None:
        self._config = config
        self._store = store
        # Bytes that wait for the store, by plugin.
        self._waiting: dict[str, int] = {}
        self.methods = (
            ServiceMethod("storage.get", "storage:read", _Entry, self._get),
            ServiceMethod("storage.has", "storage:read", _Entry, self._has),
            ServiceMethod("storage.list", "storage:read", _List, self._list),
            ServiceMethod("storage.set", "storage:write", _Set, self._set),
            ServiceMethod("storage.delete", "storage:write", _Entry, self._delete),
            ServiceMethod("storage.clear", "storage:write", _Place, self._clear),
        )

    async def aclose(self) -> None:
        await self._store.aclose()

    def _get(self, request: Request, params: _Entry) -> object:
        """The value as the one item of a list, which is empty where there is none."""
        space = _space(request, params)
        if peeked := self._store.peek(space, params.key):
            with told_to_plugin("storage"):
                return _stored(params.key, *peeked)
        return self._get_later(space, params.key)

    async def _get_later(self, space: Space, key: str) -> list[Raw]:
        with told_to_plugin("storage"):
            return _stored(key, await self._store.get(space, key))

    async def _has(self, request: Request, params: _Entry) -> bool:
        with told_to_plugin("storage"):
            return await self._store.has(_space(request, params), params.key)

    async def _list(self, request: Request, params: _List) -> dict[str, Any]:
        space = _space(request, params)
        with told_to_plugin("storage"):
            keys = await self._store.list(space, params.prefix, params.after, MAX_PAGE + 1)
        return {"keys": keys[:MAX_PAGE], "more": len(keys) > MAX_PAGE}

    async def _set(self, request: Request, params: _Set) -> None:
        space = _space(request, params)
        limits = self._config.limits_of(request.plugin_id)
        quota = Quota(limits.storage_size, limits.storage_keys)
        size = memoryview(params.value).nbytes
        if size > quota.size:
            raise quota.too_large(request.plugin_id, size)
        _check_value(params.value)
        value = bytes(params.value)
        with self._carrying(request.plugin_id, size, quota.size), told_to_plugin("storage"):
            await self._store.set(space, params.key, value, params.ttl, quota)

    async def _delete(self, request: Request, params: _Entry) -> bool:
        with told_to_plugin("storage"):
            return await self._store.delete(_space(request, params), params.key)

    async def _clear(self, request: Request, params: _Place) -> int:
        with told_to_plugin("storage"):
            return await self._store.clear(_space(request, params))

    @contextmanager
    def _carrying(self, plugin_id: str, size: int, limit: int) -> Iterator[None]:
        """Bounds what waits for a store that is slow."""
        waiting = self._waiting.get(plugin_id, 0) + size
        if waiting > limit:
            raise Overloaded(plugin_id, "bytes on their way to its storage", limit)
        self._waiting[plugin_id] = waiting
        try:
            yield
        finally:
            left = self._waiting.pop(plugin_id) - size
            if left:
                self._waiting[plugin_id] = left


def _space(request: Request, params: _Place) -> Space:
    user = None
    if params.scope == "user":
        user = params.user or request.user_id
        if not user:
            raise _NoUser
    return Space(request.plugin_id, user, params.namespace)


def _stored(key: str, value: bytes | None) -> list[Raw]:
    if value is None:
        return []
    try:
        _skip(value)
    except msgspec.MsgspecError as exc:
        raise _Foreign(key) from exc
    return [Raw(value)]


_skip: Final = msgspec.msgpack.Decoder(Raw).decode


def _check_value(value: Raw) -> None:
    """Refuse what could be kept and never be read. The router has bounded what it decodes to."""
    try:
        decode_checked(value)
    except MalformedMessage as exc:
        raise InvalidParams("storage.set", [f"value: {exc.reason}"]) from exc
