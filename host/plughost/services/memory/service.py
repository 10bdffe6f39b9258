"""The host service `memory`: what is remembered of users, searched and added to."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Annotated, Any, Final, Protocol

import anyio
from msgspec import Meta, Struct

from plughost.config import HostConfig
from plughost.errors import HostMisuse, TooDeep
from plughost.memory_store import Memory, MemoryMatch, MemoryStore, MemoryType
from plughost.services.memory.embedding import ToolCall, ToolEmbedder
from plughost.services.memory.table import MemoryTable, Quota
from plughost.services.memory.vectors import VectorMemories
from plughost.services.memory.words import WordMemories
from plughost.services.router import Request, ServiceMethod
from plughost.services.service import HostService
from plughost.services.store_errors import told_to_plugin
from plughost.services.users.service import UserId
from plughost_protocol import CallMeta

__all__ = ["MAX_CONTENT", "MAX_LIMIT", "MAX_QUERY", "Announce", "MemoryService"]

MAX_QUERY: Final = 1000  # characters
MAX_CONTENT: Final = 10_000  # characters
MAX_LIMIT: Final = 100


class Announce(Protocol):
    """Emits an event of the host's. `meta` is of the call that it is due to."""

    def __call__(
        self, name: str, data: object, *, user_id: str = "", meta: CallMeta | None = None
    ) -> None: ...


class _Search(Struct, frozen=True, forbid_unknown_fields=True):
    query: Annotated[str, Meta(min_length=1, max_length=MAX_QUERY)]
    user_id: UserId = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = 5


class _Create(Struct, frozen=True, forbid_unknown_fields=True):
    content: Annotated[str, Meta(min_length=1, max_length=MAX_CONTENT)]
    type: MemoryType
    user_id: UserId = ""
    importance: Annotated[int, Meta(ge=1, le=10)] = 5


class MemoryService(HostService):
    """Over the application's memory, or the embedded one.

    `check_user` raises where there is no such user, `call_tool` is for an embedder that is a
    plugin's, and `announce` for the events `memory:created` and `memory:updated`.
    """

    def __init__(
        self,
        config: HostConfig,
        check_user: Callable[[str], Awaitable[None]],
        call_tool: ToolCall,
        announce: Announce,
    ) -> None:
        self._config = config
        self._check_user = check_user
        self._announce = announce
        self._store = self._make_store(call_tool)
        self._turns: dict[str, anyio.Lock] = {}  # by plugin
        self.methods = (
            ServiceMethod("memory.search", "memory:read", _Search, self._on_search),
            ServiceMethod("memory.create", "memory:write", _Create, self._on_create),
        )

    async def aclose(self) -> None:
        if isinstance(self._store, MemoryTable):
            await self._store.aclose()

    # For the application

    async def search(self, query: str, user_id: str, limit: int = 5) -> Sequence[MemoryMatch]:
        """What is remembered of one user, best first.

        Raises `UnknownUser`, `StoreError`, and with an embedder `EmbeddingFailed`.
        """
        await self._check_user(user_id)
        # The application's own store is not trusted to keep users apart.
        found = [
            match
            for match in await self._store.search(query, user_id, limit)
            if match.memory.user_id == user_id and math.isfinite(match.similarity)
        ]
        return found[:limit]

    async def create(
        self,
        user_id: str,
        content: str,
        type: MemoryType | str,
        importance: int = 5,
        *,
        created_by: str = "",
    ) -> str:
        """Remember something, and give its id. Raises as `search` does, and `QuotaExceeded`."""
        return await self._create(user_id, content, type, importance, created_by, None)

    async def _create(
        self,
        user_id: str,
        content: str,
        type: MemoryType | str,
        importance: int,
        created_by: str,
        meta: CallMeta | None,
    ) -> str:
        _check(content, importance)
        kind = _type(type)
        await self._check_user(user_id)
        memory_id = await self._store.create(user_id, content, kind, importance, created_by)
        data = _event(memory_id, user_id, kind, importance, created_by)
        self._announce("memory:created", data, user_id=user_id, meta=meta)
        return memory_id

    async def get(self, memory_id: str) -> Memory:
        """One memory of the embedded store. Raises `UnknownMemory`, `StoreError`."""
        return await self._table().get(memory_id)

    async def update(
        self,
        memory_id: str,
        *,
        content: str | None = None,
        type: MemoryType | str | None = None,
        importance: int | None = None,
    ) -> Memory:
        """Change what is given of a memory of the embedded store. Raises `UnknownMemory`."""
        _check("as it is" if content is None else content, 1 if importance is None else importance)
        kind = None if type is None else _type(type)
        changed = await self._table().update(
            memory_id, content=content, type=kind, importance=importance
        )
        data = _event(
            memory_id, changed.user_id, changed.type, changed.importance, changed.created_by
        )
        self._announce("memory:updated", data, user_id=changed.user_id)
        return changed

    async def delete(self, memory_id: str) -> None:
        """Forget one memory of the embedded store. Raises `UnknownMemory`, `StoreError`."""
        await self._table().delete(memory_id)

    async def forget(self, user_id: str) -> int:
        """Forget all of one user in the embedded store, and tell how many memories that were."""
        return await self._table().forget(user_id)

    # For plugins

    async def _on_search(self, request: Request, params: _Search) -> list[dict[str, Any]]:
        self._refuse_embedder(request)
        user_id = params.user_id or request.user_id
        async with self._turn_of(request.plugin_id):
            with told_to_plugin("memory"):
                found = await self.search(params.query, user_id, params.limit)
        return [
            {
                "id": memory.id,
                "content": memory.content,
                "type": memory.type.value,
                "similarity": min(max(match.similarity, 0.0), 1.0),
                "importance": memory.importance,
                "created_at": memory.created_at.isoformat(),
                "created_by": memory.created_by,
            }
            for match in found
            for memory in (match.memory,)
        ]

    async def _on_create(self, request: Request, params: _Create) -> str:
        self._refuse_embedder(request)
        with told_to_plugin("memory"):
            return await self._create(
                params.user_id or request.user_id,
                params.content,
                params.type,
                params.importance,
                request.plugin_id,
                None if request.parent is None else request.parent.meta,
            )

    def _turn_of(self, plugin_id: str) -> AbstractAsyncContextManager[Any]:
        # A search by words may take a second, and one thread makes those of all.
        if isinstance(self._store, WordMemories):
            return self._turns.setdefault(plugin_id, anyio.Lock())
        return nullcontext()

    def _refuse_embedder(self, request: Request) -> None:
        embedder = self._config.memory.embedder
        if isinstance(embedder, str) and embedder.partition(".")[0] == request.plugin_id:
            # To answer it the host would call it, which would ask again, and so on.
            chain = request.plugin_id, embedder, request.plugin_id
            raise TooDeep(chain, self._config.call_depth)

    def _make_store(self, call_tool: ToolCall) -> MemoryStore:
        config = self._config.memory
        path = self._config.state / "memory.db"
        if config.store is not None:
            return config.store
        if config.embedder is None:
            return WordMemories(path, self._quota_of)
        embedder = config.embedder
        if isinstance(embedder, str):
            embedder = ToolEmbedder(embedder, call_tool)
        return VectorMemories(path, self._quota_of, embedder, anew=config.embed_anew)

    def _quota_of(self, plugin_id: str) -> Quota:
        limits = self._config.limits_of(plugin_id)
        return Quota(limits.memories, limits.memories_size)

    def _table(self) -> MemoryTable:
        if not isinstance(self._store, MemoryTable):
            raise HostMisuse("the host's memory is the application's own: change it there")
        return self._store


def _event(
    memory_id: str, user_id: str, type: MemoryType, importance: int, created_by: str
) -> Mapping[str, Any]:
    """What an event tells. Not the content: who may hear of it may not therefore read it."""
    return {
        "id": memory_id,
        "user_id": user_id,
        "type": type.value,
        "importance": importance,
        "created_by": created_by,
    }


def _check(content: str, importance: int) -> None:
    if not 1 <= len(content) <= MAX_CONTENT:
        raise HostMisuse(f"a memory has 1 to {MAX_CONTENT:,} characters, not {len(content):,}")
    if not 1 <= importance <= 10:
        raise HostMisuse(f"the importance of a memory is 1 to 10, not {importance}")


def _type(type: MemoryType | str) -> MemoryType:
    try:
        return MemoryType(type)
    except ValueError:
        raise HostMisuse(f"the type of a memory is {', '.join(MemoryType)}, not {type!r}") from None
