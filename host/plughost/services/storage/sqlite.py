# ruff: noqa: S608 - the statements are made of constants of this module alone
"""The embedded store: one SQLite file for all plugins."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from plughost.services.lazy_sqlite import LazySqlite
from plughost.services.sqlite import Connection, Schema, SqliteThread
from plughost.services.storage.store import Quota, Space

__all__ = ["SqliteStore"]

# The triggers keep each plugin's sum whatever statement changes the entries: adding up a
# plugin's thousand entries at each write would cost more than the write.
_SCHEMA: Final = Schema(
    0x706C7374,  # "plst"
    [
        [
            """
            CREATE TABLE entries (
                id INTEGER PRIMARY KEY,
                plugin TEXT NOT NULL,
                scope TEXT NOT NULL,
                user TEXT NOT NULL,
                namespace TEXT NOT NULL,
                key TEXT NOT NULL,
                size INTEGER NOT NULL,
                expires REAL,
                value BLOB NOT NULL,
                UNIQUE (plugin, scope, user, namespace, key)
            )
            """,
            "CREATE INDEX expiring ON entries (plugin, expires) WHERE expires IS NOT NULL",
            """
            CREATE TABLE sums (
                plugin TEXT PRIMARY KEY,
                size INTEGER NOT NULL,
                keys INTEGER NOT NULL
            ) WITHOUT ROWID
            """,
            """
            CREATE TRIGGER added AFTER INSERT ON entries BEGIN
                INSERT INTO sums VALUES (new.plugin, new.size, 1) ON CONFLICT (plugin)
                DO UPDATE SET size = size + excluded.size, keys = keys + 1;
            END
            """,
            """
            CREATE TRIGGER changed AFTER UPDATE OF size ON entries BEGIN
                UPDATE sums SET size = size - old.size + new.size WHERE plugin = new.plugin;
            END
            """,
            """
            CREATE TRIGGER removed AFTER DELETE ON entries BEGIN
                UPDATE sums SET size = size - old.size, keys = keys - 1 WHERE plugin = old.plugin;
            END
            """,
        ]
    ],
)

_SPACE: Final = "plugin = ? AND scope = ? AND user = ? AND namespace = ?"
_LIVE: Final = "(expires IS NULL OR expires > ?)"

_GET: Final = f"SELECT value FROM entries WHERE {_SPACE} AND key = ? AND {_LIVE}"
_HAS: Final = f"SELECT 1 FROM entries WHERE {_SPACE} AND key = ? AND {_LIVE}"
_SMALL: Final = 16_384  # bytes: a handful of pages
# Where it is larger the value is not touched.
_PEEK: Final = f"""
    SELECT iif(size <= {_SMALL}, value, NULL) FROM entries
    WHERE {_SPACE} AND key = ? AND {_LIVE}
"""
_SIZE: Final = f"SELECT size FROM entries WHERE {_SPACE} AND key = ?"
_SUMS: Final = "SELECT size, keys FROM sums WHERE plugin = ?"
_SET: Final = """
    INSERT INTO entries (plugin, scope, user, namespace, key, size, expires, value)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (plugin, scope, user, namespace, key)
    DO UPDATE SET size = excluded.size, expires = excluded.expires, value = excluded.value
"""
_DELETE: Final = f"DELETE FROM entries WHERE {_SPACE} AND key = ?"
_CLEAR: Final = f"DELETE FROM entries WHERE {_SPACE}"
_EXPIRE: Final = "DELETE FROM entries WHERE plugin = ? AND expires <= ?"
_EXPIRE_ALL: Final = "DELETE FROM entries WHERE expires <= ?"
# The bounds are bytes: the upper one is no text.
_LIST: Final = f"""
    SELECT key FROM entries
    WHERE {_SPACE} AND key >= CAST(? AS TEXT) AND key < CAST(? AS TEXT) AND {_LIVE}
    ORDER BY key LIMIT ?
"""


class SqliteStore:
    """Entries in a file that several processes can have open at once.

    What was answered survives `kill -9`. At a power cut the last seconds' writes may be missing,
    and nothing is half written: the file is only forced onto the disk at checkpoints.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds since the epoch: a time to live goes on while no host runs."""
        self._path = path
        self._clock = clock
        self._database = LazySqlite(SqliteThread(path, _SCHEMA), "storage", self._begin)
        self._reader: sqlite3.Connection | None = None

    def _begin(self, connection: Connection) -> None:
        # Plugins that are gone, or write no more, would keep theirs for ever.
        _run(connection, _EXPIRE_ALL, self._clock())
        self._reader = self._reader or _reader(self._path)

    async def aclose(self) -> None:
        if self._reader is not None:
            self._reader.close()
        await self._database.aclose()

    def peek(self, space: Space, key: str) -> tuple[bytes | None] | None:
        # A small value is read by the loop itself, out of the system's cache as a rule: the way
        # to the thread and back takes longer than all the rest of the request.
        if self._reader is None:
            return None
        try:
            rows = self._reader.execute(_PEEK, (*_columns(space), key, self._clock())).fetchall()
        except sqlite3.Error:  # the thread will meet it, too, and say it well
            return None
        if rows and rows[0][0] is None:
            return None
        return (rows[0][0] if rows else None,)

    async def get(self, space: Space, key: str) -> bytes | None:
        def get(connection: Connection) -> bytes | None:
            row = connection.execute(_GET, (*_columns(space), key, self._clock())).fetchone()
            return None if row is None else bytes(row[0])

        return await self._database.read(get)

    async def has(self, space: Space, key: str) -> bool:
        def has(connection: Connection) -> bool:
            row = connection.execute(_HAS, (*_columns(space), key, self._clock())).fetchone()
            return row is not None

        return await self._database.read(has)

    async def set(
        self, space: Space, key: str, value: bytes, ttl: float | None, quota: Quota
    ) -> None:
        size = len(key.encode()) + len(value)

        def set_(connection: Connection) -> None:
            now = self._clock()
            place = _columns(space)
            _run(connection, _EXPIRE, space.plugin_id, now)
            old = connection.execute(_SIZE, (*place, key)).fetchone()
            has = connection.execute(_SUMS, (space.plugin_id,)).fetchone() or (0, 0)
            would_be = has[0] + size - (0 if old is None else old[0])
            if would_be > quota.size and would_be > has[0]:
                raise quota.too_large(space.plugin_id, would_be)
            if old is None and has[1] >= quota.keys:
                raise quota.too_many(space.plugin_id, has[1] + 1)
            expires = None if ttl is None else now + ttl
            _run(connection, _SET, *place, key, size, expires, value)

        await self._database.write(set_)

    async def delete(self, space: Space, key: str) -> bool:
        def delete(connection: Connection) -> bool:
            _run(connection, _EXPIRE, space.plugin_id, self._clock())
            return _run(connection, _DELETE, *_columns(space), key) > 0

        return await self._database.write(delete)

    async def list(self, space: Space, prefix: str, after: str, limit: int) -> list[str]:
        first, end = _range(prefix, after)

        def list_(connection: Connection) -> list[str]:
            found = (*_columns(space), first, end, self._clock(), limit)
            return [key for (key,) in connection.execute(_LIST, found).fetchall()]

        return await self._database.read(list_)

    async def clear(self, space: Space) -> int:
        def clear(connection: Connection) -> int:
            _run(connection, _EXPIRE, space.plugin_id, self._clock())
            return _run(connection, _CLEAR, *_columns(space))

        return await self._database.write(clear)


def _reader(path: Path) -> sqlite3.Connection:
    """A connection for the event loop: it waits for no lock and writes nothing."""
    # Made in the database's thread, so that the loop does not wait for the file's schema.
    connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT count(*) FROM sums").fetchall()
    return connection


def _columns(space: Space) -> tuple[str, str, str, str]:
    scope, user = ("plugin", "") if space.user is None else ("user", space.user)
    return space.plugin_id, scope, user, space.namespace


def _range(prefix: str, after: str) -> tuple[bytes, bytes]:
    """The first key that may come, and what none reaches: no byte of UTF-8 is 0xff."""
    first = prefix.encode() if after < prefix else after.encode() + b"\0"
    return first, prefix.encode() + b"\xff"


def _run(connection: Connection, statement: str, *values: object) -> int:
    """How many entries a statement has changed."""
    connection.execute(statement, values).fetchall()
    (changed,) = connection.execute("SELECT changes()").fetchone()
    return int(changed)
