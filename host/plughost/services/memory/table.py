"""The table that memories are kept in, whichever way they are searched."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from plughost.errors import PlughostError, QuotaExceeded
from plughost.memory_store import Memory, MemoryType
from plughost.services.lazy_sqlite import LazySqlite
from plughost.services.sqlite import Connect, Connection, Schema, SqliteThread, sqlite3_connection

__all__ = [
    "COLUMNS",
    "MemoryTable",
    "Quota",
    "UnknownMemory",
    "WrongDimension",
    "check_dimension",
    "memories_of",
    "memory_of",
    "user_token",
]

_SCHEMA: Final = Schema(
    0x706C684D,  # "plhM"
    [
        [
            """CREATE TABLE memories (
                number INTEGER PRIMARY KEY,
                id TEXT NOT NULL UNIQUE,
                user_id TEXT NOT NULL,
                user_token TEXT NOT NULL,
                content TEXT NOT NULL,
                type TEXT NOT NULL,
                importance INTEGER NOT NULL,
                created_at INTEGER NOT NULL,
                updated_at INTEGER NOT NULL,
                created_by TEXT NOT NULL,
                size INTEGER NOT NULL,
                vector BLOB
            ) STRICT""",
            "CREATE INDEX memories_of_user ON memories (user_id)",
            "CREATE INDEX memories_of_plugin ON memories (created_by, user_id, size)",
            # One row, once the first memory is embedded.
            "CREATE TABLE embedding (dimension INTEGER NOT NULL) STRICT",
            # Porter's stemmer folds English endings. The user stands in the index, so that a
            # search costs what that user's memories cost, not everybody's.
            """CREATE VIRTUAL TABLE words USING fts5(
                user_token, content, content = 'memories', content_rowid = 'number',
                tokenize = 'porter unicode61 remove_diacritics 2'
            )""",
            """CREATE TRIGGER words_of_new AFTER INSERT ON memories BEGIN
                INSERT INTO words (rowid, user_token, content)
                VALUES (new.number, new.user_token, new.content);
            END""",
            """CREATE TRIGGER words_of_deleted AFTER DELETE ON memories BEGIN
                INSERT INTO words (words, rowid, user_token, content)
                VALUES ('delete', old.number, old.user_token, old.content);
            END""",
            """CREATE TRIGGER words_of_updated AFTER UPDATE OF content ON memories BEGIN
                INSERT INTO words (words, rowid, user_token, content)
                VALUES ('delete', old.number, old.user_token, old.content);
                INSERT INTO words (rowid, user_token, content)
                VALUES (new.number, new.user_token, new.content);
            END""",
        ]
    ],
)
_ROW: Final = 512  # bytes that a memory takes beside its text, so that many small ones count
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

FLOAT: Final = 4  # bytes of one number of a vector
EMBEDDING_FAILED: Final = "embedding_failed"

COLUMNS: Final = "id, user_id, content, type, importance, created_at, updated_at, created_by"
"""What `memory_of` reads, in a SELECT."""


class UnknownMemory(PlughostError):
    """Raised when no memory has this id."""

    def __init__(self, memory_id: str) -> None:
        super().__init__(f"there is no memory {memory_id!r}")
        self.memory_id = memory_id


class WrongDimension(PlughostError):
    """Raised when the embedder gives vectors of another length than those that are stored."""

    code = EMBEDDING_FAILED

    def __init__(self, stored: int, given: int) -> None:
        super().__init__(
            f"the memories are embedded in {stored} dimensions, and the embedder gives {given}: "
            "put the embedder back that they were embedded with, or set MemoryConfig.embed_anew"
        )
        self.stored = stored
        self.given = given


@dataclass(frozen=True, slots=True)
class Quota:
    """What one plugin may create."""

    memories: int
    """For one user."""
    size: int
    """Bytes, for all users."""


def memory_of(row: tuple[Any, ...]) -> Memory:
    """The memory in the first columns of a row."""
    memory_id, user_id, content, kind, importance, created_at, updated_at, created_by = row[:8]
    return Memory(
        memory_id,
        user_id,
        content,
        MemoryType(kind),
        importance,
        _EPOCH + created_at * _MICROSECOND,
        _EPOCH + updated_at * _MICROSECOND,
        created_by,
    )


def user_token(user_id: str) -> str:
    """One word for a user id: digits only, which no tokenizer splits and no stemmer cuts."""
    return str(int.from_bytes(sha256(user_id.encode()).digest()[:16]))


def utc_now() -> datetime:
    return datetime.now(UTC)


class MemoryTable:
    """Memories by their ids.

    `quota_of` gives what a plugin may create; the application, whose id is empty, may all.
    `now` gives the time, aware.
    """

    def __init__(
        self,
        path: Path,
        quota_of: Callable[[str], Quota],
        *,
        now: Callable[[], datetime] = utc_now,
        connect: Connect = sqlite3_connection,
        at_first: Callable[[Connection], None] | None = None,
    ) -> None:
        self._database = LazySqlite(
            SqliteThread(path, _SCHEMA, connect=connect), "memory", at_first
        )
        self._quota_of = quota_of
        self._now = now

    async def aclose(self) -> None:
        """Close the file once what was asked before is done."""
        await self._database.aclose()

    async def create(
        self, user_id: str, content: str, type: MemoryType, importance: int, created_by: str
    ) -> str:
        """Keep a memory, and give its id. Raises `QuotaExceeded`, `StoreError`."""
        return await self._create(user_id, content, type, importance, created_by, None)

    async def _create(
        self,
        user_id: str,
        content: str,
        type: MemoryType,
        importance: int,
        created_by: str,
        vector: bytes | None,
    ) -> str:
        memory_id = secrets.token_hex(16)
        now = self._microseconds()
        size = len(content.encode()) + _ROW
        row = {
            "id": memory_id,
            "user_id": user_id,
            "user_token": user_token(user_id),
            "content": content,
            "type": type.value,
            "importance": importance,
            "created_at": now,
            "updated_at": now,
            "created_by": created_by,
            "size": size,
            "vector": vector,
        }
        places = ", ".join("?" * len(row))
        statement = f"INSERT INTO memories ({', '.join(row)}) VALUES ({places})"  # noqa: S608 - ours

        def insert(connection: Connection) -> None:
            if created_by:
                _check_quota(connection, created_by, user_id, size, self._quota_of(created_by))
            check_dimension(connection, vector)
            connection.execute(statement, tuple(row.values()))

        await self._database.write(insert)
        return memory_id

    async def get(self, memory_id: str) -> Memory:
        """Raises `UnknownMemory`, `StoreError`."""
        return await self._database.read(lambda connection: _get(connection, memory_id))

    async def update(
        self,
        memory_id: str,
        *,
        content: str | None = None,
        type: MemoryType | None = None,
        importance: int | None = None,
    ) -> Memory:
        """Change what is given, and give the memory as it then is.

        Raises `UnknownMemory`, `StoreError`.
        """
        return await self._update(memory_id, content, type, importance, None)

    async def _update(
        self,
        memory_id: str,
        content: str | None,
        type: MemoryType | None,
        importance: int | None,
        vector: bytes | None,
    ) -> Memory:
        changes: dict[str, object] = {"updated_at": self._microseconds()}
        if content is not None:
            size = len(content.encode()) + _ROW
            changes |= {"content": content, "size": size, "vector": vector}
        if type is not None:
            changes["type"] = type.value
        if importance is not None:
            changes["importance"] = importance
        assignments = ", ".join(f"{column} = ?" for column in changes)
        statement = f"UPDATE memories SET {assignments} WHERE id = ?"  # noqa: S608 - our columns

        def change(connection: Connection) -> Memory:
            check_dimension(connection, vector)
            connection.execute(statement, (*changes.values(), memory_id))
            return _get(connection, memory_id)

        return await self._database.write(change)

    async def delete(self, memory_id: str) -> None:
        """Forget one memory. Raises `UnknownMemory`, `StoreError`."""

        def remove(connection: Connection) -> None:
            _get(connection, memory_id)
            connection.execute("DELETE FROM memories WHERE id = ?", (memory_id,))

        await self._database.write(remove)

    async def forget(self, user_id: str) -> int:
        """Forget all of one user, and tell how many memories that were. Raises `StoreError`."""

        def remove(connection: Connection) -> int:
            count = memories_of(connection, user_id)
            connection.execute("DELETE FROM memories WHERE user_id = ?", (user_id,))
            return count

        return await self._database.write(remove)

    def _microseconds(self) -> int:
        return (self._now() - _EPOCH) // _MICROSECOND


def memories_of(connection: Connection, user_id: str) -> int:
    """How many memories a user has."""
    row = connection.execute("SELECT count(*) FROM memories WHERE user_id = ?", (user_id,))
    count: int = row.fetchone()[0]
    return count


def check_dimension(connection: Connection, vector: bytes | None) -> None:
    """Hold a vector against those that are stored; the first one decides. In a transaction."""
    if vector is None:
        return
    given = len(vector) // FLOAT
    row = connection.execute("SELECT dimension FROM embedding").fetchone()
    if row is None:
        connection.execute("INSERT INTO embedding VALUES (?)", (given,))
    elif row[0] != given:
        raise WrongDimension(row[0], given)


def _get(connection: Connection, memory_id: str) -> Memory:
    row = connection.execute(
        f"SELECT {COLUMNS} FROM memories WHERE id = ?",  # noqa: S608 - our column names
        (memory_id,),
    ).fetchone()
    if row is None:
        raise UnknownMemory(memory_id)
    return memory_of(row)


def _check_quota(
    connection: Connection, plugin_id: str, user_id: str, size: int, quota: Quota
) -> None:
    (count,) = connection.execute(
        "SELECT count(*) FROM memories WHERE created_by = ? AND user_id = ?", (plugin_id, user_id)
    ).fetchone()
    if count >= quota.memories:
        raise QuotaExceeded(
            plugin_id, "memories of this user", count + 1, quota.memories, "Limits.memories"
        )
    (held,) = connection.execute(
        "SELECT coalesce(sum(size), 0) FROM memories WHERE created_by = ?", (plugin_id,)
    ).fetchone()
    if held + size > quota.size:
        raise QuotaExceeded(
            plugin_id, "bytes of memories", held + size, quota.size, "Limits.memories_size"
        )
