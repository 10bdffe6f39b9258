"""The embedded memory with an embedder: found by meaning, and embedders that give nonsense."""

import math
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from plughost import HostMisuse
from plughost.memory_store import MemoryType
from plughost.services.memory.embedding import EmbeddingFailed, ToolEmbedder, embed
from plughost.services.memory.table import MemoryTable, Quota, WrongDimension
from plughost.services.memory.vectors import VectorMemories
from plughost.services.memory.words import WordMemories

pytest.importorskip("apsw", reason="needs plughost[vector]")
pytest.importorskip("sqlite_vec", reason="needs plughost[vector]")

pytestmark = pytest.mark.anyio

AMPLE = Quota(10_000, 2**30)

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


class Trigrams:
    """A simple embedder that is a real one: texts that share letter triples are near."""

    def __init__(self, dimension: int = 128) -> None:
        self.dimension = dimension
        self.asked: list[list[str]] = []

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        self.asked.append(list(texts))
        return [self._vector(text.lower()) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [0.0] * self.dimension
        for start in range(len(text) - 2):
            vector[crc32(text[start : start + 3].encode()) % self.dimension] += 1.0
        return vector


@asynccontextmanager
async def opened(
    folder: Path, embedder: Any = None, *, anew: bool = False
) -> AsyncIterator[VectorMemories]:
    path = folder / "memory.db"
    memories = VectorMemories(path, lambda _: AMPLE, embedder or Trigrams(), anew=anew)
    try:
        yield memories
    finally:
        await memories.aclose()


async def remember(memories: MemoryTable, *contents: str, user: str = "ada") -> list[str]:
    return [
        await memories.create(user, content, MemoryType.SEMANTIC, 5, "notes")
        for content in contents
    ]


@on_both_loops
async def test_the_nearest_comes_first_and_similarity_falls(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "photography", "a photographer at work", "the bus at nine")
        await remember(memories, "photographs", user="bob")
        matches = await memories.search("photographers", "ada", 10)
        contents = [match.memory.content for match in matches]
        assert contents[:2] == ["photography", "a photographer at work"]
        similarities = [match.similarity for match in matches]
        assert similarities == sorted(similarities, reverse=True)
        assert all(0 < similarity <= 1 for similarity in similarities)
        [same] = await memories.search("photography", "ada", 1)
        assert same.similarity == pytest.approx(1, abs=1e-5)
        # A text without a triple has no direction, and is near to nothing.
        assert await memories.search("x", "ada", 5) == []


async def test_memories_from_before_the_embedder_are_found_too(tmp_path: Path) -> None:
    words = WordMemories(tmp_path / "memory.db", lambda _: AMPLE)
    await remember(words, *(f"photograph number {n}" for n in range(70)))
    await words.aclose()
    embedder = Trigrams()
    async with opened(tmp_path, embedder) as memories:
        assert len(await memories.search("photographs", "ada", 100)) == 70
        assert sorted(map(len, embedder.asked)) == [1, 6, 32, 32]
        await memories.search("photographs", "ada", 100)
        assert sum(map(len, embedder.asked)) == 72  # nothing is embedded twice


async def test_a_changed_memory_is_embedded_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as memories:
        [memory_id] = await remember(memories, "photography")
        await memories.update(memory_id, content="the bus at nine")
        assert (await memories.search("photograph", "ada", 5)) == []
        [match] = await memories.search("bus", "ada", 5)
        await memories.update(memory_id, importance=9)
        [same] = await memories.search("bus", "ada", 5)
        assert (same.similarity, same.memory.importance) == (match.similarity, 9)


@on_both_loops
async def test_vectors_of_another_length_are_refused_until_all_are_made_anew(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as memories:
        await remember(memories, "photography")
    async with opened(tmp_path, Trigrams(64)) as memories:
        for refused in (memories.search("tea", "ada", 5), remember(memories, "lost")):
            with pytest.raises(WrongDimension, match=r"128 dimensions.* gives 64.*embed_anew"):
                await refused
    async with opened(tmp_path, Trigrams(64), anew=True) as memories:
        [match] = await memories.search("photograph", "ada", 5)
        assert match.memory.content == "photography"


class Nonsense:
    def __init__(self, vectors: object) -> None:
        self._vectors = vectors

    async def embed(self, texts: Sequence[str]) -> Any:
        return self._vectors


@pytest.mark.parametrize(
    ("vectors", "problem"),
    [
        (None, "no list of 2 vectors"),
        ([], "no list of 2 vectors"),
        ([[1.0]], "no list of 2 vectors"),
        (3.5, "no list of 2 vectors"),
        ([[1.0], [1.0, 2.0]], "different lengths"),
        ([[1.0], []], "1 to 4096 numbers"),
        ([[1.0], [0.0] * 4097], "1 to 4096 numbers"),
        ([[1.0], [math.nan]], "not finite"),
        ([[1.0], [1e300]], "not finite"),
        ([[1.0], ["1.0"]], "something else than numbers"),
        ([[1.0], [10**400]], "something else than numbers"),
        ([[1.0], "12"], "no list of numbers"),
        ([[1.0], None], "no list of numbers"),
    ],
)
async def test_nonsense_of_an_embedder_is_refused_and_nothing_is_stored(
    vectors: object, problem: str
) -> None:
    with pytest.raises(EmbeddingFailed, match=problem):
        await embed(Nonsense(vectors), ["one", "two"])


async def test_a_memory_that_cannot_be_embedded_is_not_kept(tmp_path: Path) -> None:
    async with opened(tmp_path, Nonsense([[math.inf]])) as memories:
        with pytest.raises(EmbeddingFailed):
            await remember(memories, "tea")
    async with opened(tmp_path) as memories:
        assert await memories.search("tea", "ada", 5) == []


async def test_a_tool_that_fails_is_named(tmp_path: Path) -> None:
    async def call(tool: str, params: object) -> Any:
        raise HostMisuse(f"{tool} is not there")

    with pytest.raises(EmbeddingFailed, match=r"did not answer \(embedder\.embed is not there"):
        await embed(ToolEmbedder("embedder.embed", call), ["one"])


def test_without_the_extra_the_host_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys, anyio\n"
        "sys.modules[sys.argv[1]] = None\n"
        "from plughost import Host, HostConfig, MemoryConfig\n"
        "async def main():\n"
        "    async with Host([], HostConfig(memory=MemoryConfig(embedder='a.b'))): ...\n"
        "anyio.run(main)\n"
    )
    for module in ("apsw", "sqlite_vec"):
        done = subprocess.run(
            [sys.executable, "-c", code, module],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert f"needs {module}: pip install 'plughost[vector]'" in done.stderr
