"""Memories searched by their meaning: vectors of an embedder's, compared by sqlite-vec."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from plughost.errors import HostMisuse
from plughost.memory_store import Embedder, Memory, MemoryMatch, MemoryType
from plughost.services.memory.embedding import embed
from plughost.services.memory.table import (
    COLUMNS,
    FLOAT,
    MemoryTable,
    Quota,
    WrongDimension,
    check_dimension,
    memory_of,
    utc_now,
)
from plughost.services.sqlite import BUSY_TIMEOUT, Connection

__all__ = ["VectorMemories"]

_BATCH: Final = 32  # texts that the embedder gets at once
_LATE: Final = 8 * _BATCH  # memories without a vector that one search embeds


def _check_extra() -> None:
    for module in ("apsw", "sqlite_vec"):
        if find_spec(module) is None:
            raise HostMisuse(
                f"a memory with an embedder needs {module}: pip install 'plughost[vector]'"
            )


def _vector_connection(path: Path) -> Connection:
    """A connection that can compare vectors.

    apsw brings an SQLite of its own, which loads extensions; Python is often built with one
    that does not.
    """
    import apsw
    import sqlite_vec

    connection = apsw.Connection(str(path))
    try:
        connection.set_busy_timeout(int(BUSY_TIMEOUT * 1000))
        connection.enable_load_extension(True)
        connection.load_extension(sqlite_vec.loadable_path())
        connection.enable_load_extension(False)
    except BaseException:
        connection.close()
        raise
    return connection


class VectorMemories(MemoryTable):
    """Finds memories whose vectors point where the query's does.

    The similarity is the cosine between the two; what has none above 0 is not found. Every
    vector of the user's is compared, so that nothing near is missed. Memories that were kept
    without an embedder are embedded as they are searched.
    """

    def __init__(
        self,
        path: Path,
        quota_of: Callable[[str], Quota],
        embedder: Embedder,
        *,
        anew: bool = False,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        _check_extra()
        super().__init__(
            path,
            quota_of,
            now=now,
            connect=_vector_connection,
            at_first=_forget_vectors if anew else None,
        )
        self._embedder = embedder

    async def search(self, query: str, user_id: str, limit: int) -> Sequence[MemoryMatch]:
        """Best first; of equals the more important first, then the newer.

        Raises `EmbeddingFailed`, `WrongDimension`, `StoreError`.
        """
        [vector] = await embed(self._embedder, [query])
        await self._embed_late(user_id)
        return await self._database.read(lambda c: _search(c, vector, user_id, limit))

    async def create(
        self, user_id: str, content: str, type: MemoryType, importance: int, created_by: str
    ) -> str:
        """Raises `EmbeddingFailed`, `WrongDimension`, `QuotaExceeded`, `StoreError`."""
        [vector] = await embed(self._embedder, [content])
        return await self._create(user_id, content, type, importance, created_by, vector)

    async def update(
        self,
        memory_id: str,
        *,
        content: str | None = None,
        type: MemoryType | None = None,
        importance: int | None = None,
    ) -> Memory:
        """Raises `UnknownMemory`, `EmbeddingFailed`, `WrongDimension`, `StoreError`."""
        vector = None
        if content is not None:
            [vector] = await embed(self._embedder, [content])
        return await self._update(memory_id, content, type, importance, vector)

    async def _embed_late(self, user_id: str) -> None:
        late = await self._database.read(lambda connection: _without_vector(connection, user_id))
        for start in range(0, len(late), _BATCH):
            batch = late[start : start + _BATCH]
            vectors = await embed(self._embedder, [content for _, content in batch])
            await self._database.write(partial(_set_vectors, batch, vectors))


def _search(connection: Connection, vector: bytes, user_id: str, limit: int) -> list[MemoryMatch]:
    row = connection.execute("SELECT dimension FROM embedding").fetchone()
    if row is not None and row[0] != len(vector) // FLOAT:
        raise WrongDimension(row[0], len(vector) // FLOAT)
    # A vector of zeros has no distance: NULL, which is not above 0.
    rows = connection.execute(
        f"SELECT * FROM (SELECT {COLUMNS}, 1 - vec_distance_cosine(vector, ?) AS similarity"  # noqa: S608 - our column names
        " FROM memories WHERE user_id = ? AND vector IS NOT NULL)"
        " WHERE similarity > 0"
        " ORDER BY similarity DESC, importance DESC, created_at DESC LIMIT ?",
        (vector, user_id, limit),
    ).fetchall()
    return [MemoryMatch(memory_of(row), min(row[-1], 1.0)) for row in rows]


def _without_vector(connection: Connection, user_id: str) -> list[tuple[str, str]]:
    return connection.execute(
        "SELECT id, content FROM memories WHERE user_id = ? AND vector IS NULL"
        " ORDER BY number LIMIT ?",
        (user_id, _LATE),
    ).fetchall()


def _set_vectors(
    rows: Sequence[tuple[str, str]], vectors: Sequence[bytes], connection: Connection
) -> None:
    for (memory_id, content), vector in zip(rows, vectors, strict=True):
        check_dimension(connection, vector)
        connection.execute(
            "UPDATE memories SET vector = ? WHERE id = ? AND content = ?",
            (vector, memory_id, content),
        )


def _forget_vectors(connection: Connection) -> None:
    connection.execute("UPDATE memories SET vector = NULL")
    connection.execute("DELETE FROM embedding")
