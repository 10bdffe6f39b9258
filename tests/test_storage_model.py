"""Stores against a dict: whatever is asked of them in whatever order, they answer the same."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plughost import QuotaExceeded
from plughost.services.storage import RedisStore, SqliteStore, Store
from plughost.services.storage.store import Quota, Space

from .redis_server import RedisServer, redis_server

QUOTA = Quota(size=60, keys=4)

text = st.text("ab:%é\U0010ffff", max_size=3)
spaces = st.builds(
    Space, st.sampled_from(["one", "two"]), st.none() | text, st.sampled_from(["n", "n:", "n%3A"])
)
keys = text.filter(bool)
Step: TypeAlias = tuple[str, Space, Any, Any]
steps = st.lists(
    st.tuples(st.just("set"), spaces, keys, st.binary(max_size=30))
    | st.tuples(st.just("set for a second"), spaces, keys, st.binary(max_size=30))
    | st.tuples(st.sampled_from(["get", "has", "delete"]), spaces, keys, st.none())
    | st.tuples(st.just("list"), spaces, text, text)
    | st.tuples(st.sampled_from(["clear", "wait"]), spaces, st.none(), st.none()),
    max_size=40,
)


class Model:
    """What a store should answer, in a dict, with seconds of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._entries: dict[tuple[Space, str], tuple[bytes, float]] = {}

    def answer(self, name: str, space: Space, first: Any, second: Any) -> object:
        for place in [at for at, (_, ends) in self._entries.items() if ends <= self.now]:
            del self._entries[place]
        match name:
            case "set":
                return self._set(space, first, second, float("inf"))
            case "set for a second":
                return self._set(space, first, second, self.now + 1)
            case "get":
                return self._entries.get((space, first), (None,))[0]
            case "has":
                return (space, first) in self._entries
            case "delete":
                return self._entries.pop((space, first), None) is not None
            case "list":
                here = sorted(key for at, key in self._entries if at == space)
                return [key for key in here if key.startswith(first) and key > second][:3]
            case "clear":
                gone = [at for at in self._entries if at[0] == space]
                for at in gone:
                    del self._entries[at]
                return len(gone)
        self.now += 0.6
        return None

    def _set(self, space: Space, key: str, value: bytes, ends: float) -> object:
        after = {**self._entries, (space, key): (value, ends)}
        if self._size(after, space) > max(QUOTA.size, self._size(self._entries, space)):
            return "bytes"
        if sum(at.plugin_id == space.plugin_id for at, _ in after) > QUOTA.keys:
            return "keys"
        self._entries = after
        return None

    @staticmethod
    def _size(entries: dict[tuple[Space, str], tuple[bytes, float]], space: Space) -> int:
        return sum(
            len(key.encode()) + len(value)
            for (at, key), (value, _) in entries.items()
            if at.plugin_id == space.plugin_id
        )


async def answer(store: Store, name: str, space: Space, first: Any, second: Any) -> object:
    match name:
        case "set" | "set for a second":
            try:
                await store.set(space, first, second, None if name == "set" else 1, QUOTA)
            except QuotaExceeded as exc:
                return exc.what.split()[0]
            return None
        case "get":
            value = await store.get(space, first)
            assert store.peek(space, first) in (None, (value,))
            return value
        case "has":
            return await store.has(space, first)
        case "delete":
            return await store.delete(space, first)
        case "list":
            return await store.list(space, first, second, 3)
        case "clear":
            return await store.clear(space)
    return None


@asynccontextmanager
async def opened(store: Store) -> AsyncIterator[Store]:
    try:
        yield store
    finally:
        await store.aclose()


@settings(max_examples=100, deadline=None)
@given(steps)
def test_sqlite_answers_as_a_dict_would(given_steps: list[Step]) -> None:
    async def main(path: Path) -> None:
        model = Model()
        async with opened(SqliteStore(path, clock=lambda: model.now)) as store:
            for step in given_steps:
                assert await answer(store, *step) == model.answer(*step), step

    with TemporaryDirectory() as folder:
        anyio.run(main, Path(folder, "storage.db"))


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@settings(max_examples=50, deadline=None)
@given(steps)
def test_redis_answers_as_a_dict_would(redis: RedisServer, given_steps: list[Step]) -> None:
    async def main() -> None:
        model = Model()
        async with opened(RedisStore(redis.url)) as store:
            for step in given_steps:
                # Its clock is the server's own: what ends there has a test of its own.
                if step[0] not in ("set for a second", "wait"):
                    assert await answer(store, *step) == model.answer(*step), step

    redis.command("flushall")
    anyio.run(main)
