"""The embedded memory: found by words, best first, one user's apart from another's."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st

from plughost.errors import QuotaExceeded
from plughost.memory_store import MemoryType
from plughost.services.memory.table import Quota, UnknownMemory
from plughost.services.memory.words import WordMemories
from plughost.services.store_errors import StoreDamaged

pytestmark = pytest.mark.anyio

AMPLE = Quota(10_000, 2**30)
START = datetime(2026, 1, 1, tzinfo=UTC)

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


def hours() -> Iterator[datetime]:
    now = START
    while True:
        yield now
        now += timedelta(hours=1)


@asynccontextmanager
async def opened(folder: Path, quota: Quota = AMPLE) -> AsyncIterator[WordMemories]:
    clock = hours()
    memories = WordMemories(folder / "memory.db", lambda _: quota, now=lambda: next(clock))
    try:
        yield memories
    finally:
        await memories.aclose()


async def remember(
    memories: WordMemories, *contents: str, user: str = "ada", importance: int = 5, plugin: str = ""
) -> list[str]:
    return [
        await memories.create(user, content, MemoryType.SEMANTIC, importance, plugin)
        for content in contents
    ]


async def found(memories: WordMemories, query: str, user: str = "ada") -> list[str]:
    return [match.memory.content for match in await memories.search(query, user, 10)]


@on_both_loops
async def test_what_shares_more_and_rarer_words_with_the_query_comes_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(
            memories,
            "Ada likes tea in the morning",
            "Ada likes the restaurant Luigi, and its Italian wine",
            "Ada likes Italian films",
            "The bus leaves at nine",
        )
        matches = await memories.search("Italian restaurants that Ada likes", "ada", 10)
        assert [match.memory.content for match in matches] == [
            "Ada likes the restaurant Luigi, and its Italian wine",
            "Ada likes Italian films",
            "Ada likes tea in the morning",
        ]
        similarities = [match.similarity for match in matches]
        assert similarities == sorted(similarities, reverse=True)
        assert 0 < similarities[-1] < similarities[0] < 1
        [best] = await memories.search("bus nine", "ada", 1)
        assert best.similarity == pytest.approx(1)


async def test_a_memory_comes_back_as_it_was_created(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        memory_id = await memories.create("ada", "tea", MemoryType.EPISODIC, 7, "notes")
    async with opened(tmp_path) as memories:
        [match] = await memories.search("tea", "ada", 5)
    memory = match.memory
    assert (memory.id, memory.user_id, memory.type) == (memory_id, "ada", MemoryType.EPISODIC)
    assert (memory.importance, memory.created_by) == (7, "notes")
    assert memory.created_at == memory.updated_at == START


async def test_the_only_memory_is_similar_to_a_word_of_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "dark mode")
        [match] = await memories.search("mode", "ada", 5)
        assert match.similarity == pytest.approx(1)


async def test_case_accents_and_english_endings_make_no_difference(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "Crème brûlée at the Café", "He walked through Łódź")
        assert await found(memories, "CREME cafes") == ["Crème brûlée at the Café"]
        assert await found(memories, "walking") == ["He walked through Łódź"]
        assert await found(memories, "łódź") == ["He walked through Łódź"]


async def test_of_equals_the_more_important_comes_first_and_then_the_newer(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "tea one", "tea two")
        await remember(memories, "tea three", importance=9)
        assert await found(memories, "tea") == ["tea three", "tea two", "tea one"]


@on_both_loops
async def test_one_users_memories_are_never_found_for_another(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "likes tea", user="ada")
        await remember(memories, "likes coffee", user="bob")
        await remember(memories, "likes water", user="ada' OR 1 --")
        assert await found(memories, "likes tea coffee water", "ada") == ["likes tea"]
        assert await found(memories, "likes", "bob") == ["likes coffee"]
        assert await found(memories, "likes", "ada' OR 1 --") == ["likes water"]
        assert await found(memories, "likes", "nobody") == []


async def test_the_similarity_tells_nothing_of_the_words_of_other_users(tmp_path: Path) -> None:
    async def similarities() -> list[float]:
        matches = await memories.search("rare common", "ada", 5)
        return [round(match.similarity, 6) for match in matches]

    async with opened(tmp_path) as memories:
        await remember(memories, "rare bird", "common bird", "common tree", "some other thing")
        before = await similarities()
        await remember(memories, *(f"rare {n}" for n in range(50)), user="bob")
        assert await similarities() == before


def test_no_query_is_a_mistake(tmp_path: Path) -> None:
    operators = st.sampled_from(['"', "NEAR(", "*", "AND", "content:", "^", "tea"])

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.text(max_size=40) | operators).map(" ".join))
    def search(query: str) -> None:
        for match in portal.call(memories.search, query, "ada", 5):
            assert 0 < match.similarity <= 1

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(opened(tmp_path)) as memories,
    ):
        portal.call(remember, memories, "likes tea AND coffee")
        search()


async def test_operators_of_fts5_in_a_query_are_words(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "salt and pepper", "tea")
        for query in (
            '"',
            "tea OR",
            "NOT tea",
            "te*",
            'user_token:"1"',
            "(tea",
            "tea\0 x",
            "{a b}:",
        ):
            await memories.search(query, "ada", 5)
        assert await found(memories, "NOT tea") == ["tea"]
        assert await found(memories, "?! ...") == []


@on_both_loops
async def test_a_changed_memory_is_found_by_its_new_words_only(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        [memory_id] = await remember(memories, "likes tea")
        changed = await memories.update(memory_id, content="likes coffee", importance=8)
        assert (changed.content, changed.importance) == ("likes coffee", 8)
        assert (changed.created_at, changed.updated_at) == (START, START + timedelta(hours=1))
        assert await found(memories, "tea") == []
        assert await found(memories, "coffee") == ["likes coffee"]
        await memories.delete(memory_id)
        assert await found(memories, "coffee") == []
        for refused in (memories.get(memory_id), memories.delete(memory_id)):
            with pytest.raises(UnknownMemory, match=memory_id):
                await refused
        with pytest.raises(UnknownMemory):
            await memories.update(memory_id, importance=1)


async def test_a_user_is_forgotten_whole_and_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "tea", "more tea", user="ada")
        await remember(memories, "tea", user="bob")
        assert await memories.forget("ada") == 2
        assert await memories.forget("ada") == 0
        assert await found(memories, "tea", "ada") == []
        assert await found(memories, "tea", "bob") == ["tea"]


@on_both_loops
async def test_the_quota_of_a_plugin_is_exact_when_many_create_at_once(tmp_path: Path) -> None:
    refused = 0

    async def create(user: str, plugin: str) -> None:
        nonlocal refused
        try:
            await remember(memories, "tea", user=user, plugin=plugin)
        except QuotaExceeded:
            refused += 1

    async with opened(tmp_path, Quota(memories=5, size=2**20)) as memories:
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(create, "ada", "notes")
        assert refused == 7
        # Another user, another plugin, the application: each has room.
        await create("bob", "notes")
        await create("ada", "diary")
        await remember(memories, *["tea"] * 6, plugin="")
        assert refused == 7
        assert len(await memories.search("tea", "ada", 100)) == 12


async def test_the_bytes_of_a_plugin_are_bounded_over_all_users(tmp_path: Path) -> None:
    async with opened(tmp_path, Quota(memories=100, size=4000)) as memories:
        await remember(memories, "é" * 1000, user="ada", plugin="notes")
        with pytest.raises(QuotaExceeded, match=r"bytes of memories.*Limits\.memories_size"):
            await remember(memories, "é" * 1000, user="bob", plugin="notes")
        assert await found(memories, "é" * 1000, "bob") == []


async def test_a_damaged_file_is_refused_each_time_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(b"this is no database" * 100)
    async with opened(tmp_path) as memories:
        for _ in range(2):
            with pytest.raises(StoreDamaged, match=r"memory\.db.*left as it is"):
                await memories.search("tea", "ada", 5)
            with pytest.raises(StoreDamaged):
                await remember(memories, "tea")
    assert path.read_bytes() == b"this is no database" * 100


async def test_a_rare_word_outweighs_a_thousand_memories_with_the_common_one(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as memories:
        async with anyio.create_task_group() as tasks:
            for number in range(1000):
                tasks.start_soon(remember, memories, f"note {number} of many, all the same")
        await remember(memories, "the note with the zebra")
        matches = await memories.search("note zebra", "ada", 3)
        assert matches[0].memory.content == "the note with the zebra"
        assert matches[0].similarity > 2 * matches[1].similarity
