"""`api.memory`: what is remembered of users."""

from datetime import datetime
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from .link import HostPart

__all__ = ["FoundMemory", "Memory", "MemoryType"]

MemoryType: TypeAlias = Literal["episodic", "semantic", "procedural"]
"""What happened, what is so, or how something is done."""


class FoundMemory(Struct, frozen=True):
    """A memory that a search has found."""

    id: str
    content: str
    type: MemoryType
    similarity: float
    """0 to 1, where 1 is the closest."""
    importance: int
    """1 to 10."""
    created_at: datetime
    """Aware, UTC."""
    created_by: str
    """The id of the plugin that created it; empty for the application."""

    def __str__(self) -> str:
        return f"[{self.type}] {self.content} (similarity: {self.similarity:.2f})"


class Memory(HostPart):
    """A user's memories are shared: every plugin that may read sees what all have created."""

    async def search(
        self, query: str, user_id: str | None = None, limit: int = 5
    ) -> list[FoundMemory]:
        """What is remembered of a user, best first. Needs the permission `memory:read`.

        Without `user_id` the user for whom the running call is. Raises `HostError` with the
        codes `unknown_user` and `store_failed`.
        """
        params = {"query": query, "user_id": user_id or "", "limit": limit}
        found = await self._link.request("memory.search", params)
        return msgspec.convert(found, list[FoundMemory])

    async def create(
        self, user_id: str | None, content: str, type: MemoryType, importance: int = 5
    ) -> str:
        """Remember something of a user, and get its id. Needs the permission `memory:write`.

        `user_id` None stands for the user for whom the running call is; `importance` is 1 to 10.
        Raises `HostError` with the codes `unknown_user`, `quota_exceeded` and `store_failed`.
        """
        params = {
            "user_id": user_id or "",
            "content": content,
            "type": type,
            "importance": importance,
        }
        memory_id: str = await self._link.request("memory.create", params)
        return memory_id
