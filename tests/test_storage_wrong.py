"""The service `storage` where its store is damaged, foreign or away: plugins run all the same."""

import re
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from plughost import StorageConfig, ToolError
from plughost.services.storage import RedisStore
from plughost.services.storage.store import Space
from plughost.services.store_errors import StoreUnavailable
from plughost_protocol import ErrorCode

from .conftest import MakePlugin
from .redis_server import redis_server
from .storage_plugin import ASKS, PLUGIN, config, running

pytestmark = pytest.mark.anyio


@pytest.fixture
def notes(make_plugin: MakePlugin) -> Path:
    return make_plugin("notes", PLUGIN, permissions=ASKS)


def later_version(path: Path) -> None:
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE entries (id)")
    database.execute(f"PRAGMA application_id = {0x706C7374}")
    database.execute("PRAGMA user_version = 99")
    database.close()


def no_database(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database, and 64 bytes of it at least" * 50)


def another_program(path: Path) -> None:
    path.parent.mkdir()
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE bookmarks (id)")
    database.close()


@pytest.mark.parametrize(
    ("spoil", "told", "why"),
    [
        (later_version, "by a later version", r"version 99.*install that plughost again"),
        (no_database, "is damaged", r"it is damaged.*put a copy of it back"),
        (another_program, "is damaged", r"something else"),
    ],
)
async def test_with_a_file_that_is_wrong_plugins_run_and_the_log_names_it(
    notes: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    told: str,
    why: str,
) -> None:
    path = tmp_path / "state" / "storage.db"
    spoil(path)
    before = path.read_bytes()
    async with running(notes, config(tmp_path / "state")) as (_, ask):
        for method in (("get", "k"), ("set", "k", 1), ("list",), ("clear",)):
            with pytest.raises(ToolError, match=told) as caught:
                await ask(*method)
            assert caught.value.code == ErrorCode.STORE_FAILED
            assert str(tmp_path) not in str(caught.value)
    assert path.read_bytes() == before
    (logged,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert re.search(rf"storage: {re.escape(str(path))}: .*{why}", logged)


async def test_a_file_that_turns_out_damaged_is_written_no_more(
    notes: Path, tmp_path: Path
) -> None:
    path = tmp_path / "state" / "storage.db"
    async with running(notes, config(tmp_path / "state")) as (_, ask):
        await ask("set", "k", 1)
        # Another connection's damage, as a broken disk does it: the next write meets it.
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sums'").fetchone()
        (page,) = other.execute("PRAGMA page_size").fetchone()
        with path.open("r+b") as file:
            file.seek((root - 1) * page)
            file.write(b"\xa5" * page)
        (version,) = other.execute("PRAGMA schema_version").fetchone()
        other.execute(f"PRAGMA schema_version = {version + 1}")  # nobody trusts their cache now
        other.close()
        for _ in range(2):
            with pytest.raises(ToolError, match="is damaged") as caught:
                await ask("set", "k", 2)
            assert caught.value.code == ErrorCode.STORE_FAILED
        assert await ask("get", "k") == 1


async def test_a_redis_server_that_is_not_there_is_no_reason_not_to_run(
    notes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("redis", reason="redis-py is not installed")
    url = "redis://ada:secret@127.0.0.1:1/0"
    async with running(notes, config(tmp_path, storage=StorageConfig(url=url))) as (_, ask):
        for method in (("get", "k"), ("set", "k", 1)):
            with pytest.raises(ToolError, match="cannot be used now") as caught:
                await ask(*method)
            assert caught.value.code == ErrorCode.STORE_FAILED
            assert "127.0.0.1" not in str(caught.value)
    (logged,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "127.0.0.1:1" in logged
    assert "secret" not in logged


async def test_what_somebody_else_wrote_into_redis_breaks_no_frame(
    notes: Path, tmp_path: Path
) -> None:
    with redis_server() as server:
        settings = config(tmp_path, storage=StorageConfig(url=server.url))
        async with running(notes, settings) as (host, ask):
            pid = host.plugin("notes").pid
            server.command("set", "plughost:plugin:notes:plugin:default:k", "hello")
            with pytest.raises(ToolError, match="not written by plughost: delete it") as caught:
                await ask("get", "k")
            assert caught.value.code == ErrorCode.STORE_FAILED
            assert await ask("delete", "k")
            await ask("set", "k", "ours")
            assert await ask("get", "k") == "ours"
            assert host.plugin("notes").pid == pid


async def test_who_waits_behind_one_that_a_hanging_redis_kept_waiting_is_told_with_it() -> None:
    pytest.importorskip("redis", reason="redis-py is not installed")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        store = RedisStore(f"redis://127.0.0.1:{mute.getsockname()[1]}", timeout=0.5)
        failures: list[str] = []

        async def get() -> None:
            with pytest.raises(StoreUnavailable) as caught:
                await store.get(Space("demo", None, "default"), "k")
            failures.append(caught.value.problem)

        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(get)
        await store.aclose()
    assert len(failures) == 40
    in_line = failures.count("it did not answer those who asked before")
    assert in_line >= 40 - 2 * 16  # as many threads ask at once
