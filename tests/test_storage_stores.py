"""Every store keeps the same promises: the same tests run on each."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from plughost import HostConfig, HostMisuse, QuotaExceeded, StorageConfig
from plughost.services.storage import RedisStore, SqliteStore, Store, make_store
from plughost.services.storage.store import Quota, Space
from plughost.services.store_errors import StoreUnavailable

from .redis_server import RedisServer, redis_server

pytestmark = pytest.mark.anyio

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

NOTES = Space("notes", None, "default")
AMPLE = Quota(10_000_000, 1000)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store
    if request.param == "sqlite":
        made = SqliteStore(tmp_path / "storage.db")
    else:
        server: RedisServer = request.getfixturevalue("redis")
        server.command("flushall")
        made = RedisStore(server.url)
    yield made
    await made.aclose()


async def put(store: Store, key: str, value: bytes = b"x", space: Space = NOTES) -> None:
    await store.set(space, key, value, None, AMPLE)


async def put_all(store: Store, number: int, value: bytes) -> None:
    for key in range(number):
        await put(store, str(key), value)


async def gone(store: Store, key: str) -> None:
    """Returns when an entry has ended."""
    with anyio.fail_after(20):
        while await store.has(NOTES, key):
            await anyio.lowlevel.checkpoint()


async def read(store: Store, key: str, space: Space = NOTES) -> bytes | None:
    """What the store has, by both ways to it."""
    value = await store.get(space, key)
    assert store.peek(space, key) in (None, (value,))
    return value


@on_both_loops
async def test_a_value_is_what_was_set_last_until_it_is_deleted(store: Store) -> None:
    assert await read(store, "key") is None
    assert not await store.has(NOTES, "key")
    await put(store, "key", b"one")
    await put(store, "key", b"two")
    assert await read(store, "key") == b"two"
    assert await store.has(NOTES, "key")
    assert await store.delete(NOTES, "key")
    assert not await store.delete(NOTES, "key")
    assert await read(store, "key") is None


@pytest.mark.parametrize("value", [b"", b"\0", bytes(range(256)), b"\xc0" * 5_000_000])
async def test_any_bytes_are_kept_as_they_are(store: Store, value: bytes) -> None:
    await put(store, "key", value)
    assert await read(store, "key") == value


SPACES = [
    NOTES,
    Space("notes", None, "other"),
    Space("notes", None, "default:key"),
    Space("notes", None, "default%3Akey"),
    Space("notes", "", "default"),
    Space("notes", "ada", "default"),
    Space("notes", "ada", "other"),
    Space("notes", "ada:default", "key"),
    Space("notes", "ada%3Adefault", "key"),
    Space("notes", "ada", "default:key"),
    Space("notes", "user=ada", "default"),
    Space("notes", "a\0b\n", "default"),
    Space("notes", "plugin", "default"),
    Space("note", None, "default"),
    Space("notes-2", None, "default"),
]
KEYS = [
    "key",
    "key:key",
    "default:key",
    ":",
    "%",
    "%3A",
    " ",
    "é",
    "e\u0301",
    "\U0001f600",
    "*?[a]",
]


async def test_no_two_spaces_and_no_two_keys_share_an_entry(store: Store) -> None:
    places = [(space, key) for space in SPACES for key in KEYS]
    for number, (space, key) in enumerate(places):
        await put(store, key, b"%d" % number, space)
    for number, (space, key) in enumerate(places):
        assert await read(store, key, space) == b"%d" % number
    for space in SPACES:
        assert await store.list(space, "", "", 100) == sorted(KEYS)
    for gone, space in enumerate(SPACES):
        assert await store.clear(space) == len(KEYS)
        for number, other in enumerate(SPACES):
            assert await store.has(other, "key") == (number > gone)


async def test_keys_are_listed_by_prefix_in_order_and_page_by_page(store: Store) -> None:
    keys = ["a", "b", "b:1", "b:10", "b:2", "b\U0010ffff", "b\U0010ffffx", "c", "é", "%", "b%"]
    for key in reversed(keys):
        await put(store, key)
    assert await store.list(NOTES, "", "", 100) == sorted(keys)
    assert await store.list(NOTES, "b", "", 100) == sorted(k for k in keys if k.startswith("b"))
    assert await store.list(NOTES, "b:", "", 100) == ["b:1", "b:10", "b:2"]
    assert await store.list(NOTES, "b:", "", 2) == ["b:1", "b:10"]
    assert await store.list(NOTES, "b:", "b:10", 2) == ["b:2"]
    assert await store.list(NOTES, "b:", "a", 1) == ["b:1"]
    assert await store.list(NOTES, "b:", "c", 1) == []
    assert await store.list(NOTES, "x", "", 100) == []


async def test_a_quota_is_full_to_the_byte_and_to_the_key(store: Store) -> None:
    quota = Quota(size=10, keys=2)
    await store.set(NOTES, "é", b"123456", None, quota)  # 2 bytes and 6
    with pytest.raises(QuotaExceeded, match=r"11 bytes.*may have 10") as caught:
        await store.set(Space("notes", "ada", "other"), "k", b"12", None, quota)
    assert (caught.value.would_be, caught.value.limit) == (11, 10)
    await store.set(Space("notes", "ada", "other"), "k", b"1", None, quota)
    with pytest.raises(QuotaExceeded, match=r"3 keys.*may have 2"):
        await store.set(NOTES, "", b"", None, quota)
    with pytest.raises(QuotaExceeded):
        await store.set(NOTES, "é", b"1234567", None, quota)
    assert await read(store, "é") == b"123456"
    await store.set(Space("other", None, "default"), "k", b"123456789", None, quota)
    await store.set(NOTES, "é", b"", None, quota)
    await store.set(Space("notes", "ada", "other"), "k", b"1234567", None, quota)
    assert await store.delete(NOTES, "é")
    await store.set(NOTES, "n", b"1", None, quota)


async def test_what_is_over_a_quota_that_was_lowered_may_shrink_and_not_grow(store: Store) -> None:
    await put(store, "a", b"12345")
    await put(store, "b", b"12345")
    low = Quota(size=4, keys=1)
    await store.set(NOTES, "a", b"123", None, low)
    with pytest.raises(QuotaExceeded):
        await store.set(NOTES, "a", b"1234", None, low)
    assert await read(store, "a") == b"123"
    await store.clear(NOTES)
    await store.set(NOTES, "a", b"123", None, low)


@on_both_loops
async def test_many_at_once_fill_the_quota_exactly(store: Store) -> None:
    quota = Quota(size=1000, keys=30)
    refused: list[str] = []

    async def fill(key: str) -> None:
        try:
            await store.set(NOTES, key, b"x" * 7, None, quota)
        except QuotaExceeded:
            refused.append(key)

    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(fill, f"{number:03}")
    assert len(refused) == 30
    kept = await store.list(NOTES, "", "", 100)
    assert sorted(kept + refused) == [f"{number:03}" for number in range(60)]

    async def remove(key: str) -> None:
        assert await store.delete(NOTES, key)

    async with anyio.create_task_group() as tasks:
        for key in kept:
            tasks.start_soon(remove, key)
        for key in refused:
            tasks.start_soon(fill, key)
    await store.clear(NOTES)
    await store.set(NOTES, "all", b"x" * 997, None, quota)


async def test_an_entry_with_a_time_to_live_ends_and_counts_no_more(store: Store) -> None:
    quota = Quota(size=10, keys=1)
    await store.set(NOTES, "key", b"1234567", 0.05, quota)
    await gone(store, "key")
    assert await read(store, "key") is None
    assert await store.list(NOTES, "", "", 10) == []
    assert not await store.delete(NOTES, "key")
    assert await store.clear(NOTES) == 0
    await store.set(NOTES, "other", b"12345", None, quota)


async def test_setting_again_takes_the_time_to_live_away(store: Store) -> None:
    await store.set(NOTES, "key", b"short", 0.05, AMPLE)
    await store.set(NOTES, "other", b"short", 0.05, AMPLE)
    await put(store, "key", b"long")
    await gone(store, "other")
    assert await read(store, "key") == b"long"
    assert await store.list(NOTES, "", "", 10) == ["key"]


async def test_the_url_says_which_store(tmp_path: Path) -> None:
    embedded = make_store(HostConfig(state_folder=tmp_path))
    assert isinstance(embedded, SqliteStore)
    pytest.importorskip("redis", reason="redis-py is not installed")
    there = make_store(HostConfig(storage=StorageConfig(url="redis://:secret@127.0.0.1:1/0")))
    assert isinstance(there, RedisStore)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1"):
        await there.get(NOTES, "key")
    await there.aclose()
    for url in ("http://:secret@127.0.0.1", "redis://:secret@127.0.0.1:port/0", "secret"):
        with pytest.raises(HostMisuse, match=r"StorageConfig\.url") as refused:
            make_store(HostConfig(storage=StorageConfig(url=url)))
        assert "secret" not in str(refused.value)


# SQLite


async def test_a_time_to_live_goes_on_while_nobody_has_the_file_open(tmp_path: Path) -> None:
    now = 1000.0
    path = tmp_path / "storage.db"
    first = SqliteStore(path, clock=lambda: now)
    await first.set(NOTES, "key", b"v", 60, AMPLE)
    now += 59
    assert await first.get(NOTES, "key") == b"v"
    await first.aclose()
    now += 1
    second = SqliteStore(path, clock=lambda: now)
    assert await second.get(NOTES, "key") is None
    await second.aclose()
    rows = sqlite3.connect(path)
    assert rows.execute("SELECT count(*) FROM entries").fetchone() == (0,)
    assert rows.execute("SELECT size, keys FROM sums").fetchall() == [(0, 0)]
    rows.close()


async def test_two_hosts_with_one_file_share_the_quota(tmp_path: Path) -> None:
    stores = [SqliteStore(tmp_path / "storage.db") for _ in range(2)]
    refused: list[str] = []

    async def fill(store: Store, key: str) -> None:
        try:
            await store.set(NOTES, key, b"", None, Quota(10_000, 20))
        except QuotaExceeded:
            refused.append(key)

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(fill, stores[number % 2], str(number))
    assert len(refused) == 20
    assert await stores[0].list(NOTES, "", "", 100) == await stores[1].list(NOTES, "", "", 100)
    for store in stores:
        await store.aclose()


# Redis


async def test_values_in_redis_have_the_names_that_the_docs_say(redis: RedisServer) -> None:
    redis.command("flushall")
    store = RedisStore(redis.url)
    await put(store, "a:b", b"1")
    await put(store, "k", b"2", Space("notes", "ada:1%", "two:three"))
    keys = set(redis.command("keys", "plughost:plugin:*").stdout.decode().split())
    assert keys == {
        "plughost:plugin:notes:plugin:default:a:b",
        "plughost:plugin:notes:user=ada%3A1%25:two%3Athree:k",
    }
    await store.aclose()


async def test_nothing_stays_in_redis_of_what_was_deleted(redis: RedisServer) -> None:
    redis.command("flushall")
    store = RedisStore(redis.url)
    for number in range(10):
        await put(store, str(number))
    await store.delete(NOTES, "0")
    await store.clear(NOTES)
    left = redis.command("keys", "*").stdout.decode().split()
    assert left == ["plughost:storage:notes:sizes"]
    assert redis.command("hgetall", *left).stdout.split() == [b"0"]
    await store.aclose()


@on_both_loops
async def test_a_redis_server_that_was_away_is_used_again_when_it_is_back() -> None:
    with redis_server() as server:
        store = RedisStore(server.url)
        await put(store, "key")
        server.stop()
        with pytest.raises(StoreUnavailable, match="Connection refused"):
            await read(store, "key")
        server.start()
        await put(store, "key", b"new")
        assert await read(store, "key") == b"new"
        await store.aclose()


async def test_a_redis_server_that_is_full_refuses_and_keeps_what_it_has() -> None:
    with redis_server() as server:
        server.command("config", "set", "maxmemory", "3mb")
        store = RedisStore(server.url)
        await put(store, "key", b"kept")
        with pytest.raises(StoreUnavailable):
            await put_all(store, 10, b"x" * 1_000_000)
        assert await read(store, "key") == b"kept"
        await store.aclose()


def test_a_store_in_redis_without_its_package_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "import json, plughost.services.storage as stores\n"
        "try: stores.RedisStore('redis://127.0.0.1')\n"
        "except Exception as exc: print(json.dumps([type(exc).__name__, str(exc)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30)
    kind, message = json.loads(done.stdout)
    assert kind == "HostMisuse"
    assert "pip install 'plughost[redis]'" in message
