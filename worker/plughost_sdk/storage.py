"""`api.storage`: values that outlive the worker."""

from typing import Any, Literal, TypeAlias, TypeVar, overload

import msgspec
from msgspec import Raw

from plughost_protocol import ErrorCode, encode

from .errors import HostError
from .link import HostPart

__all__ = ["Storage"]

Scope: TypeAlias = Literal["plugin", "user"]
T = TypeVar("T")
D = TypeVar("D")


class Storage(HostPart):
    """The plugin's own values, by key; no other plugin sees them.

    Entries are apart by scope and namespace: the scope `plugin` is for what all users share,
    `user` for each user alone, who is the one that the running call is made for, or `user`.
    Values are what msgpack holds: None, bool, int, float, str, bytes, and lists and maps of them.

    Reading needs the permission `storage:read`, the rest `storage:write`. All raise `HostError`:
    with the code `invalid_params` for what cannot be, `quota_exceeded` for too much,
    `store_failed` where the host's store has a problem.
    """

    @overload
    async def get(
        self,
        key: str,
        default: Any = None,
        *,
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> Any: ...
    @overload
    async def get(
        self,
        key: str,
        default: None = None,
        *,
        type: type[T],
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> T | None: ...
    @overload
    async def get(
        self,
        key: str,
        default: D,
        *,
        type: type[T],
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> T | D: ...
    async def get(
        self,
        key: str,
        default: Any = None,
        *,
        type: Any = None,
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> Any:
        """The value, or `default` where there is none.

        With a `type` it is converted to that: `get("places", type=list[Place])`. Raises
        `msgspec.ValidationError` where it does not fit, as a value that an older version of the
        plugin has stored may not.
        """
        found = await self._ask("get", _names(scope, namespace, user, key=key))
        if not found:
            return default
        return found[0] if type is None else msgspec.convert(found[0], type)

    async def has(
        self,
        key: str,
        *,
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> bool:
        """Whether there is a value, which can be None."""
        found: bool = await self._ask("has", _names(scope, namespace, user, key=key))
        return found

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> None:
        """Keep a value in place of what was there: for `ttl` seconds, or for good.

        When it returns the value is kept, whatever happens to the worker or the host.
        """
        try:
            raw = Raw(encode(value))
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            raise HostError(
                ErrorCode.INVALID_PARAMS, f"storage cannot hold the value of {key[:100]!r}: {exc}"
            ) from exc
        await self._ask("set", _names(scope, namespace, user, key=key), value=raw, ttl=ttl)

    async def delete(
        self,
        key: str,
        *,
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> bool:
        """Whether there was a value; now there is none."""
        found: bool = await self._ask("delete", _names(scope, namespace, user, key=key))
        return found

    async def list(
        self,
        prefix: str = "",
        *,
        scope: Scope = "plugin",
        namespace: str = "default",
        user: str | None = None,
    ) -> list[str]:
        """The keys that begin so, sorted. A request of the host's for each thousand."""
        names = _names(scope, namespace, user, prefix=prefix)
        keys: list[str] = []
        more = True
        while more:
            after = keys[-1] if keys else ""
            page = await self._ask("list", names, after=after)
            keys += page["keys"]
            more = page["more"]
        return keys

    async def clear(
        self, *, scope: Scope = "plugin", namespace: str = "default", user: str | None = None
    ) -> int:
        """Delete all of one scope and namespace; how many values there were."""
        count: int = await self._ask("clear", _names(scope, namespace, user))
        return count

    async def _ask(self, method: str, names: dict[str, object], **more: object) -> Any:
        try:
            encode(names)
        except (TypeError, ValueError) as exc:  # half of a surrogate pair, for one
            raise HostError(ErrorCode.INVALID_PARAMS, f"storage.{method}: {exc}") from exc
        return await self._link.request(f"storage.{method}", {**names, **more})


def _names(scope: Scope, namespace: str, user: str | None, **more: str) -> dict[str, object]:
    return {"scope": scope, "namespace": namespace, "user": user, **more}
