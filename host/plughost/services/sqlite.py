"""An SQLite database with a thread of its own, so that the event loop never waits for the disk."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

import anyio

from plughost.errors import HostMisuse
from plughost.reactor import soon_from_threads
from plughost.services.store_errors import StoreDamaged, StoreLocked, StoreTooNew, StoreUnavailable
from plughost.text import clean_line

__all__ = ["Connect", "Connection", "Schema", "SqliteThread", "sqlite3_connection"]

T = TypeVar("T")

BUSY_TIMEOUT: Final = 5.0  # seconds; another process, such as the command, writes for less
_CHECKED_WHOLE: Final = 256 * 2**20  # bytes, a second's reading; damage in more is met later
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REFUSALS: Final = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


class Cursor(Protocol):
    """The rows of one statement."""

    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Connection(Protocol):
    """What the connections of `sqlite3` and of apsw have in common. No transaction by itself."""

    @property
    def in_transaction(self) -> bool: ...
    def execute(self, sql: str, parameters: Any = (), /) -> Cursor: ...
    def close(self) -> None: ...


Connect: TypeAlias = Callable[[Path], Connection]


@dataclass(frozen=True, slots=True)
class Schema:
    """What kind of database it is, and how each version of it is made of the one before."""

    application_id: int
    """In the file's header: what tells it from another program's database."""
    steps: Sequence[Sequence[str]]
    """Statements; step 0 makes version 1 out of an empty file."""

    @property
    def version(self) -> int:
        return len(self.steps)


def sqlite3_connection(path: Path) -> Connection:
    """A connection of the standard library's."""
    return sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT)


class SqliteThread:
    """A database that one thread reads and writes.

    Of several processes with the file open each sees what the others have committed. The file
    has mode 0600, its folder is made with 0700. What a write has committed survives `kill -9`.
    """

    def __init__(
        self, path: Path, schema: Schema, *, connect: Connect = sqlite3_connection
    ) -> None:
        self.path = path
        self._schema = schema
        self._connect = connect
        self._jobs: SimpleQueue[_Job[Any]] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closing: _Job[None] | None = None
        self._locked_at = 0.0

    async def open(self) -> None:
        """Open the file, made if there is none, in this version of the schema.

        Raises `StoreDamaged`, `StoreTooNew`, `StoreUnavailable`; the file is then untouched.
        """
        if self._thread is not None:
            raise HostMisuse(f"{self.path} is open already")
        opening = _Job(_nothing)
        # A daemon: a host that was never closed must not keep the interpreter from its exit.
        self._thread = threading.Thread(
            target=self._run, args=(opening,), name=f"plughost {self.path.name}", daemon=True
        )
        self._thread.start()
        try:
            with anyio.CancelScope(shield=True):
                await opening.result()
        except Exception:
            await self.aclose()
            raise

    async def read(self, function: Callable[[Connection], T]) -> T:
        """The result of a function that only reads. Raises what it raises, and `StoreError`."""
        return await self._do(_Job(function))

    async def write(self, function: Callable[[Connection], T]) -> T:
        """The result of a function that runs in one transaction: all of it is kept, or nothing.

        Cancelled before its turn it does not run; once begun it is waited for.
        """

        def transaction(connection: Connection) -> T:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = function(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk rolls back by itself
                    connection.execute("ROLLBACK")
                raise
            return result

        return await self._do(_Job(transaction, writes=True))

    async def aclose(self) -> None:
        """Close the database once what was asked before is done. Returns even if cancelled."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing = closing = _Job(_nothing)
        self._jobs.put(closing)
        with anyio.CancelScope(shield=True):
            await closing.ended.wait()
        thread.join()

    async def _do(self, job: "_Job[T]") -> T:
        if self._thread is None:
            raise StoreUnavailable(self.path, "it is not open")
        self._jobs.put(job)
        return await job.result()

    def _run(self, opening: "_Job[None]") -> None:
        connection: Connection | None = None
        try:
            connection = self._opened()
        except Exception as exc:  # noqa: BLE001 - it is raised where the result is awaited
            opening.fail(exc)
        else:
            opening.run(connection, self.path)
        while (job := self._jobs.get()) is not self._closing:
            if connection is None:
                job.fail(StoreUnavailable(self.path, "it could not be opened"))
            elif job.writes and job.asked < self._locked_at:
                # It has waited in line for as long as the one before has for the lock.
                job.fail(StoreLocked(self.path))
            else:
                job.run(connection, self.path)
                if job.met_a_lock:
                    self._locked_at = time.monotonic()
        try:
            if connection is not None:
                connection.close()
        finally:
            job.fail(StoreUnavailable(self.path, "it was closed"))

    def _opened(self) -> Connection:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite would make it with the mode that the umask leaves.
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(self.path, flags, 0o600))
        except OSError as exc:
            raise StoreUnavailable(self.path, exc.strerror or str(exc)) from exc
        with _translated(self.path), ExitStack() as stack:
            connection = self._connect(self.path)
            stack.callback(connection.close)
            self._check(connection)
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._upgrade(connection)
            stack.pop_all()
        return connection

    def _check(self, connection: Connection) -> None:
        """Raise where this is no file to write to. Writes nothing."""
        # At one moment: another process may be making the file.
        connection.execute("BEGIN")
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("COMMIT")
        if application_id != self._schema.application_id and (tables or application_id or version):
            raise StoreDamaged(self.path, "it is the database of something else")
        if version > self._schema.version:
            raise StoreTooNew(self.path, version, self._schema.version)
        if self.path.stat().st_size <= _CHECKED_WHOLE:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise StoreDamaged(self.path, f"it is damaged ({clean_line(found)})")

    def _upgrade(self, connection: Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        # Asked again: another process may have been first.
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        for step in self._schema.steps[version:]:
            for statement in step:
                connection.execute(statement)
        if version < self._schema.version:
            connection.execute(f"PRAGMA application_id = {self._schema.application_id}")
            connection.execute(f"PRAGMA user_version = {self._schema.version}")
        connection.execute("COMMIT")


def _nothing(_: Connection) -> None: ...


class _Job(Generic[T]):
    """One function on its way to the thread and back."""

    def __init__(self, function: Callable[[Connection], T], *, writes: bool = False) -> None:
        self.writes = writes
        self.asked = time.monotonic()
        self._function = function
        self._soon = soon_from_threads()
        # Taken by the thread that begins it, or by the task that no longer wants it.
        self._claim = threading.Lock()
        self._result: Any = None
        self._error: Exception | None = None
        self.ended = anyio.Event()

    @property
    def met_a_lock(self) -> bool:
        """Whether somebody else held the file for longer than it could wait."""
        return isinstance(self._error, StoreLocked)

    async def result(self) -> T:
        """What the function returned. Raises what it raised."""
        try:
            await self.ended.wait()
        except BaseException:
            if not self._claim.acquire(blocking=False):
                with anyio.CancelScope(shield=True):
                    await self.ended.wait()
            raise
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def run(self, connection: Connection, path: Path) -> None:
        """Run it, in the thread."""
        if not self._claim.acquire(blocking=False):
            return
        try:
            with _translated(path):
                self._result = self._function(connection)
        except Exception as exc:  # noqa: BLE001 - it is raised where the result is awaited
            self._error = exc
        self._tell()

    def fail(self, error: Exception) -> None:
        """End it without running it, in the thread."""
        if self._claim.acquire(blocking=False):
            self._error = error
            self._tell()

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is gone, and with it who waited
            self._soon(self.ended.set)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise SQLite's errors that are nobody's mistake as a `StoreError`."""
    try:
        yield
    except Exception as exc:
        # The names of the standard library's, and of apsw.
        code = getattr(exc, "sqlite_errorcode", getattr(exc, "result", None))
        if isinstance(code, int) and code & 0xFF in _DAMAGE:
            raise StoreDamaged(path, f"it is damaged ({exc})") from exc
        if isinstance(code, int) and code & 0xFF == sqlite3.SQLITE_BUSY:
            raise StoreLocked(path) from exc
        if isinstance(code, int) and code & 0xFF in _REFUSALS:
            raise StoreUnavailable(path, str(exc)) from exc
        raise
