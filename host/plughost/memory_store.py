"""What an application may put in the place of plughost's own memory, and what both speak of."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

__all__ = ["Embedder", "Memory", "MemoryMatch", "MemoryStore", "MemoryType"]


class MemoryType(StrEnum):
    """What kind of thing is remembered."""

    EPISODIC = "episodic"
    """What happened: events and experiences."""
    SEMANTIC = "semantic"
    """What is so: knowledge and facts."""
    PROCEDURAL = "procedural"
    """How something is done."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Something that is remembered of a user."""

    id: str
    user_id: str
    content: str
    type: MemoryType
    importance: int
    """1 to 10."""
    created_at: datetime
    """Aware, UTC; so is `updated_at`."""
    updated_at: datetime
    created_by: str = ""
    """The id of the plugin that created it; empty for the application."""


@dataclass(frozen=True, slots=True)
class MemoryMatch:
    """A memory that a search has found."""

    memory: Memory
    similarity: float
    """0 to 1, where 1 is the closest."""


class MemoryStore(Protocol):
    """An application's own memory: all that plugins need of it."""

    async def search(self, query: str, user_id: str, limit: int) -> Sequence[MemoryMatch]:
        """At most `limit` memories of this user and no other, best first."""

    async def create(
        self, user_id: str, content: str, type: MemoryType, importance: int, created_by: str
    ) -> str:
        """Remember something, and give its id. `created_by` is the plugin that asks."""


class Embedder(Protocol):
    """Turns texts into vectors, near to each other where the texts mean nearly the same."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector for each text, all of one length, now and later."""
