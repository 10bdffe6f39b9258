"""A database with a thread of its own: transactions, cancellation, and files that are wrong."""

import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from plughost.services.lazy_sqlite import LazySqlite
from plughost.services.sqlite import Connection, Schema, SqliteThread
from plughost.services.store_errors import StoreDamaged, StoreTooNew, StoreUnavailable

pytestmark = pytest.mark.anyio

SCHEMA = Schema(0x706C6854, [["CREATE TABLE words (word TEXT PRIMARY KEY) STRICT"]])
LATER = Schema(SCHEMA.application_id, [*SCHEMA.steps, ["ALTER TABLE words ADD length INTEGER"]])

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@asynccontextmanager
async def opened(path: Path, schema: Schema = SCHEMA) -> AsyncIterator[SqliteThread]:
    database = SqliteThread(path, schema)
    await database.open()
    try:
        yield database
    finally:
        await database.aclose()


def add(word: str, connection: Connection) -> None:
    connection.execute("INSERT INTO words (word) VALUES (?)", (word,))


def add_all(number: int, connection: Connection) -> None:
    for position in range(number):
        add(f"word {position}", connection)


def add_megabytes(connection: Connection) -> None:
    """More than SQLite keeps of a file in memory."""
    for number in range(5000):
        add(f"{number:01000}", connection)


def words(connection: Connection) -> list[str]:
    return [word for (word,) in connection.execute("SELECT word FROM words").fetchall()]


@on_both_loops
async def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "words.db"
    async with opened(path) as database:
        await database.write(lambda connection: add("one", connection))
    async with opened(path) as database:
        assert await database.read(words) == ["one"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]


@on_both_loops
async def test_a_write_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    def half(connection: Connection) -> None:
        add("one", connection)
        raise LookupError("enough")

    async with opened(tmp_path / "words.db") as database:
        with pytest.raises(LookupError):
            await database.write(half)
        assert await database.read(words) == []


@on_both_loops
async def test_many_tasks_write_and_the_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    began, go = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        began.set()
        assert go.wait(10)

    async with opened(tmp_path / "words.db") as database:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.write, slow)
            for number in range(50):
                tasks.start_soon(database.write, lambda c, n=number: add(str(n), c))
            await anyio.to_thread.run_sync(began.wait, 10)
            go.set()  # reached by a loop that does not wait for the thread
        assert len(await database.read(words)) == 50


@on_both_loops
async def test_cancelled_before_its_turn_a_write_never_runs_and_once_begun_it_ends(
    tmp_path: Path,
) -> None:
    began, go = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        began.set()
        assert go.wait(10)
        add("begun", connection)

    async with opened(tmp_path / "words.db") as database:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(database.write, slow)
            await anyio.to_thread.run_sync(began.wait, 10)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await database.write(lambda connection: add("waiting", connection))
            assert scope.cancelled_caught
            tasks.cancel_scope.cancel()
            go.set()
        assert await database.read(words) == ["begun"]


@on_both_loops
async def test_closing_ends_what_was_asked_before_and_refuses_the_rest(tmp_path: Path) -> None:
    began, go = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        began.set()
        assert go.wait(10)

    database = SqliteThread(tmp_path / "words.db", SCHEMA)
    await database.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.write, slow)
        for number in range(5):
            tasks.start_soon(database.write, lambda c, n=number: add(str(n), c))
        await anyio.to_thread.run_sync(began.wait, 10)
        await anyio.wait_all_tasks_blocked()
        with anyio.CancelScope() as scope:
            scope.cancel()
            threading.Timer(0, go.set).start()
            await database.aclose()
    assert not any(thread.name == "plughost words.db" for thread in threading.enumerate())
    with pytest.raises(StoreUnavailable, match="not open"):
        await database.read(words)
    async with opened(tmp_path / "words.db") as database:
        assert len(await database.read(words)) == 5


async def test_an_older_file_is_brought_up_and_a_later_one_is_refused_untouched(
    tmp_path: Path,
) -> None:
    path = tmp_path / "words.db"
    async with opened(path) as database:
        await database.write(lambda connection: add("one", connection))
    async with opened(path, LATER) as database:
        assert await database.read(words) == ["one"]
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match=r"words\.db: a later plughost.*version 2") as caught:
        await SqliteThread(path, SCHEMA).open()
    assert (caught.value.version, caught.value.known) == (2, 1)
    assert path.read_bytes() == before


def damage_head(data: bytearray) -> None:
    data[:16] = b"not a database!\0"


def damage_middle(data: bytearray) -> None:
    data[4096:8192] = b"\xa5" * 4096


def cut(data: bytearray) -> None:
    del data[len(data) // 2 :]


@on_both_loops
@pytest.mark.parametrize("damage", [damage_head, damage_middle, cut])
async def test_a_damaged_file_is_named_and_left_as_it_is(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "words.db"
    async with opened(path) as database:
        await database.write(lambda connection: add_all(2000, connection))
    data = bytearray(path.read_bytes())
    damage(data)  # type: ignore[operator] # the parameters above
    path.write_bytes(data)
    with pytest.raises(StoreDamaged, match=r"(?s)words\.db.*put a copy of it back") as caught:
        await SqliteThread(path, SCHEMA).open()
    assert caught.value.path == path
    assert path.read_bytes() == data


async def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(StoreDamaged, match="something else"):
        await SqliteThread(path, SCHEMA).open()


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="file"):
        await SqliteThread(tmp_path / "file" / "words.db", SCHEMA).open()


async def test_a_full_store_keeps_what_it_has_and_nothing_half(tmp_path: Path) -> None:
    def fill(connection: Connection) -> None:
        connection.execute("PRAGMA max_page_count = 12")
        add_all(10_000, connection)

    async with opened(tmp_path / "words.db") as database:
        await database.write(lambda connection: add("one", connection))
        with pytest.raises(StoreUnavailable, match=r"words\.db: .*full"):
            await database.write(fill)
        assert await database.read(words) == ["one"]
        await database.write(lambda connection: add("two", connection))


async def test_a_store_that_another_process_holds_is_named(tmp_path: Path) -> None:
    path = tmp_path / "words.db"

    def impatient(path: Path) -> Connection:
        return sqlite3.connect(path, isolation_level=None, timeout=0)

    database = SqliteThread(path, SCHEMA, connect=impatient)
    await database.open()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        await database.write(lambda connection: add("one", connection))
    assert await database.read(words) == []
    holder.close()
    await database.write(lambda connection: add("one", connection))
    await database.aclose()


async def test_writes_in_line_behind_one_that_met_a_lock_have_waited_long_enough(
    tmp_path: Path,
) -> None:
    path = tmp_path / "words.db"
    begun: list[str] = []

    def impatient(path: Path) -> Connection:
        connection = sqlite3.connect(path, isolation_level=None, timeout=0, check_same_thread=False)
        connection.set_trace_callback(begun.append)
        return connection

    database = SqliteThread(path, SCHEMA, connect=impatient)
    await database.open()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    gate = threading.Event()
    refused: list[str] = []

    async def write(number: int) -> None:
        try:
            await database.write(lambda connection: add(str(number), connection))
        except StoreUnavailable as exc:
            refused.append(exc.problem)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.read, lambda _: gate.wait(10))
        for number in range(10):
            tasks.start_soon(write, number)
        await anyio.wait_all_tasks_blocked()
        gate.set()
    assert len(refused) == 10
    assert begun.count("BEGIN IMMEDIATE") == 2  # to open it, and for the first in line
    holder.close()
    await database.write(lambda connection: add("one", connection))
    await database.aclose()


@on_both_loops
async def test_a_store_damaged_while_in_use_is_given_up_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "words.db"
    async with opened(path) as database:
        await database.write(add_megabytes)
    lazy = LazySqlite(SqliteThread(path, SCHEMA), "words")
    await lazy.read(lambda connection: connection.execute("SELECT 1").fetchone())
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreDamaged):
            await lazy.read(words)
        with pytest.raises(StoreDamaged):
            await lazy.write(lambda connection: add("lost", connection))
    await lazy.aclose()
    assert path.read_bytes() == before
    [record] = caplog.records
    assert record.message.startswith(f"words: {path}: it is damaged")


@on_both_loops
async def test_a_database_that_was_locked_at_first_is_tried_again_after_a_pause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def impatient(path: Path) -> Connection:
        return sqlite3.connect(path, isolation_level=None, timeout=0)

    path, now = tmp_path / "words.db", [0.0]
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    lazy = LazySqlite(SqliteThread(path, SCHEMA, connect=impatient), "words", clock=lambda: now[0])
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="locked"):
            await lazy.read(words)
    holder.close()
    with pytest.raises(StoreUnavailable, match="locked"):
        await lazy.read(words)
    assert len(caplog.records) == 1
    now[0] += 5
    await lazy.write(lambda connection: add("one", connection))
    assert await lazy.read(words) == ["one"]
    await lazy.aclose()


async def test_a_database_that_cannot_be_used_at_all_is_not_tried_again(tmp_path: Path) -> None:
    path, now = tmp_path / "words.db", [0.0]
    async with opened(path, LATER):
        pass
    lazy = LazySqlite(SqliteThread(path, SCHEMA), None, clock=lambda: now[0])
    with pytest.raises(StoreTooNew):
        await lazy.read(words)
    path.unlink()
    now[0] += 1e6
    with pytest.raises(StoreTooNew):
        await lazy.read(words)
    await lazy.aclose()


async def test_two_processes_see_what_each_other_commits(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    code = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=5)\n"
        "with connection:\n"
        "    connection.execute(\"INSERT INTO words VALUES ('theirs')\")\n"
        "connection.close()"
    )
    async with opened(path) as database:
        await database.write(lambda connection: add("ours", connection))
        await anyio.run_process([sys.executable, "-c", code, str(path)])
        assert await database.read(words) == ["ours", "theirs"]


async def test_what_was_committed_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "words.db"
    code = (
        "import os, signal, sys, anyio\n"
        "from pathlib import Path\n"
        "from plughost.services.sqlite import Schema, SqliteThread\n"
        f"schema = Schema({SCHEMA.application_id}, {SCHEMA.steps})\n"
        "def half(connection):\n"
        "    connection.execute(\"INSERT INTO words VALUES ('half')\")\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "async def main():\n"
        "    database = SqliteThread(Path(sys.argv[1]), schema)\n"
        "    await database.open()\n"
        "    await database.write(\n"
        "        lambda c: c.execute(\"INSERT INTO words VALUES ('whole')\").fetchall())\n"
        "    await database.write(half)\n"
        "anyio.run(main)\n"
    )
    done = await anyio.run_process([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -9
    async with opened(path) as database:
        assert await database.read(words) == ["whole"]
