"""`api.memory` in a real worker: permission, users, quota, events, embedders, broken stores."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from plughost import (
    BlockingHost,
    CallContext,
    Host,
    HostConfig,
    HostMisuse,
    Limits,
    PluginConfig,
    Rates,
    ToolError,
)
from plughost.memory_store import Memory, MemoryMatch, MemoryType
from plughost.service_config import MemoryConfig, UsersConfig
from plughost.services.memory.service import MemoryService
from plughost.services.users.service import UnknownUser
from plughost.user_directory import User
from plughost_protocol import CallMeta

from .conftest import MakePlugin, trusting

pytestmark = pytest.mark.anyio

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

READ_AND_WRITE = ["tools:register", "memory:read", "memory:write"]

NOTES = """
    from plughost_sdk import HostError, Plugin

    plugin = Plugin()

    @plugin.tool
    async def note(content: str, user: str | None = None, type: str = "semantic") -> str:
        return await plugin.api.memory.create(user, content, type, 7)

    @plugin.tool
    async def recall(query: str, user: str | None = None, limit: int = 5) -> list[str]:
        return [str(found) for found in await plugin.api.memory.search(query, user, limit)]

    @plugin.tool
    async def details(query: str) -> dict:
        [found] = await plugin.api.memory.search(query)
        return {
            "id": found.id, "type": found.type, "importance": found.importance,
            "zone": str(found.created_at.tzinfo), "by": found.created_by,
            "similarity": found.similarity,
        }

    @plugin.tool
    def recall_in_a_thread(query: str) -> int:
        return len(plugin.api.blocking.memory.search(query))

    @plugin.tool
    async def raw(method: str, params: dict) -> str:
        try:
            return await plugin.api._link.request(method, params)
        except HostError as exc:
            return f"{exc.code}: {exc}"
"""

ADA = CallContext(user_id="ada")


@on_both_loops
async def test_a_plugin_remembers_and_another_recalls_what_it_did(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    folder = make_plugin("reader", NOTES, permissions=["tools:register", "memory:read"])
    config = trusting(state_folder=tmp_path / "state")
    async with Host([folder], config) as host:
        memory_id = await host.call("notes.note", {"content": "prefers dark mode"}, context=ADA)
        await host.call("notes.note", {"content": "dark chocolate", "user": "bob"})
        assert await host.call("reader.recall", {"query": "dark"}, context=ADA) == [
            "[semantic] prefers dark mode (similarity: 1.00)"
        ]
        details = await host.call("reader.details", {"query": "dark mode"}, context=ADA)
        assert details.pop("similarity") == pytest.approx(1)
        assert details == {
            "id": memory_id, "type": "semantic", "importance": 7, "zone": "UTC", "by": "notes",
        }  # fmt: skip
        assert await host.call("notes.recall_in_a_thread", {"query": "dark"}, context=ADA) == 1
        with pytest.raises(ToolError) as refusal:
            await host.call("reader.note", {"content": "x"}, context=ADA)
        assert refusal.value.code == "permission_denied"
    assert (tmp_path / "state" / "memory.db").stat().st_mode & 0o777 == 0o600
    async with Host([folder], config) as host:
        assert len(await host.call("reader.recall", {"query": "dark"}, context=ADA)) == 1


async def test_a_call_for_no_user_must_name_one(tmp_path: Path, make_plugin: MakePlugin) -> None:
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    async with Host([folder], trusting(state_folder=tmp_path)) as host:
        with pytest.raises(ToolError, match="no user was named") as refusal:
            await host.call("notes.recall", {"query": "dark"})
        assert refusal.value.code == "unknown_user"
        assert await host.call("notes.recall", {"query": "dark", "user": "ada"}) == []


@on_both_loops
async def test_where_there_are_users_an_unknown_one_has_no_memories(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    async with Host([folder], trusting(state_folder=tmp_path)) as host:
        await host.users.table.add(User("ada"))
        await host.call("notes.note", {"content": "tea", "user": "ada"})
        for tool, params in (("note", {"content": "tea"}), ("recall", {"query": "tea"})):
            with pytest.raises(ToolError, match="there is no user 'mallory'") as refusal:
                await host.call(f"notes.{tool}", params | {"user": "mallory"})
            assert refusal.value.code == "unknown_user"


BAD_REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("memory.search", {"query": "", "user_id": "ada"}),
    ("memory.search", {"query": "x" * 1001, "user_id": "ada"}),
    ("memory.search", {"query": "x", "user_id": "u" * 257}),
    ("memory.search", {"query": "x", "user_id": "ada", "limit": 0}),
    ("memory.search", {"query": "x", "user_id": "ada", "limit": 101}),
    ("memory.search", {"query": "x", "user_id": "ada", "created_by": "notes"}),
    ("memory.create", {"content": "", "type": "semantic", "user_id": "ada"}),
    ("memory.create", {"content": "x" * 10_001, "type": "semantic", "user_id": "ada"}),
    ("memory.create", {"content": "x", "type": "rumour", "user_id": "ada"}),
    ("memory.create", {"content": "x", "type": "semantic", "user_id": "ada", "importance": 11}),
    ("memory.create", {"content": "x", "type": "semantic", "user_id": "ada", "importance": 0}),
    ("memory.create", {"content": 7, "type": "semantic", "user_id": "ada"}),
    ("memory.create", {"content": "x", "type": "semantic", "created_by": "other"}),
]


async def test_requests_out_of_bounds_are_refused(tmp_path: Path, make_plugin: MakePlugin) -> None:
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    async with Host([folder], trusting(state_folder=tmp_path)) as host:
        for method, params in BAD_REQUESTS:
            answer = await host.call("notes.raw", {"method": method, "params": params})
            assert answer.startswith("invalid_params: "), params
        for name in ("update", "delete", "get"):  # the application's, not the plugins'
            answer = await host.call("notes.raw", {"method": f"memory.{name}", "params": {}})
            assert answer.startswith("unknown_method: ")


async def test_a_plugin_over_its_quota_is_told_and_others_are_not_held(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    folder = make_plugin("diary", NOTES, permissions=READ_AND_WRITE)
    held = {"notes": PluginConfig(limits=Limits(memories=2))}
    async with Host([folder], trusting(state_folder=tmp_path, plugins=held)) as host:
        for _ in range(2):
            await host.call("notes.note", {"content": "tea"}, context=ADA)
        with pytest.raises(ToolError, match="may have 2") as refusal:
            await host.call("notes.note", {"content": "tea"}, context=ADA)
        assert refusal.value.code == "quota_exceeded"
        await host.call("diary.note", {"content": "tea"}, context=ADA)
        assert len(await host.memory.search("tea", "ada")) == 3


async def test_a_damaged_store_stops_no_plugin_and_names_no_file_to_it(
    tmp_path: Path, make_plugin: MakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    file = tmp_path / "memory.db"
    file.write_bytes(b"this is no database" * 100)
    with caplog.at_level(logging.ERROR, "plughost.services"):
        async with Host([folder], trusting(state_folder=tmp_path)) as host:
            for _ in range(2):
                with pytest.raises(ToolError, match="its store is damaged; the host's log") as told:
                    await host.call("notes.recall", {"query": "tea"}, context=ADA)
                assert told.value.code == "store_failed"
                assert str(tmp_path) not in str(told.value)
            assert host.plugins["notes"].state == "active"
    [record] = caplog.records
    assert str(file) in record.message
    assert file.read_bytes() == b"this is no database" * 100


@on_both_loops
async def test_the_bus_hears_that_something_was_remembered(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    async with (
        Host([folder], trusting(state_folder=tmp_path)) as host,
        host.events.subscribe("memory:*") as events,
    ):
        memory_id = await host.call("notes.note", {"content": "secret"}, context=ADA)
        created = await anext(events)
        data = {
            "id": memory_id,
            "user_id": "ada",
            "type": "semantic",
            "importance": 7,
            "created_by": "notes",
        }
        assert (created.name, created.user_id, created.data) == ("memory:created", "ada", data)
        await host.memory.update(memory_id, importance=8)
        updated = await anext(events)
        assert (updated.name, updated.data) == ("memory:updated", data | {"importance": 8})


# The application's side


def service(config: HostConfig, told: list[tuple[str, object]]) -> MemoryService:
    async def anybody(user_id: str) -> None: ...

    async def no_tool(tool: str, params: Mapping[str, Any]) -> Any:
        raise HostMisuse(tool)

    def announce(
        name: str, data: object, *, user_id: str = "", meta: CallMeta | None = None
    ) -> None:
        assert user_id == "ada"
        told.append((name, data))

    return MemoryService(config, anybody, no_tool, announce)


@on_both_loops
async def test_events_tell_what_changed_and_not_what_it_says(tmp_path: Path) -> None:
    told: list[tuple[str, object]] = []
    memory = service(HostConfig(state_folder=tmp_path), told)
    memory_id = await memory.create("ada", "likes tea", "episodic", 3)
    await memory.update(memory_id, content="likes coffee", importance=4)
    await memory.delete(memory_id)
    assert await memory.forget("ada") == 0
    await memory.aclose()
    data = {"id": memory_id, "user_id": "ada", "type": "episodic", "created_by": ""}
    assert told == [
        ("memory:created", data | {"importance": 3}),
        ("memory:updated", data | {"importance": 4}),
    ]


async def test_what_the_application_gives_is_checked_too(tmp_path: Path) -> None:
    memory = service(HostConfig(state_folder=tmp_path), [])
    for content, kind, importance in (
        ("", "semantic", 5),
        ("x" * 10_001, "semantic", 5),
        ("x", "semantic", 0),
        ("x", "rumour", 5),
    ):
        with pytest.raises(HostMisuse):
            await memory.create("ada", content, kind, importance)
    await memory.aclose()


class Lists:
    """An application's own memory."""

    def __init__(self) -> None:
        self.memories: list[Memory] = []

    async def search(self, query: str, user_id: str, limit: int) -> Sequence[MemoryMatch]:
        # Careless: it mixes users, gives too many and a similarity that is none.
        return [MemoryMatch(memory, 7.5) for memory in self.memories if query in memory.content]

    async def create(
        self, user_id: str, content: str, type: MemoryType, importance: int, created_by: str
    ) -> str:
        now = datetime.now(UTC)
        memory_id = str(len(self.memories))
        self.memories.append(
            Memory(memory_id, user_id, content, type, importance, now, now, created_by)
        )
        return memory_id


class People:
    """An application's own users."""

    async def get(self, user_id: str) -> User | None:
        return User(user_id) if user_id in ("ada", "bob") else None


@on_both_loops
async def test_an_application_puts_its_own_memory_and_users_in_place(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    theirs = Lists()
    config = trusting(
        state_folder=tmp_path / "state",
        memory=MemoryConfig(store=theirs),
        users=UsersConfig(directory=People()),
    )
    async with Host([folder], config) as host:
        for user in ("bob", "ada"):
            await host.call("notes.note", {"content": "likes tea", "user": user})
        assert [memory.created_by for memory in theirs.memories] == ["notes", "notes"]
        assert await host.call("notes.recall", {"query": "tea", "user": "ada"}) == [
            "[semantic] likes tea (similarity: 1.00)"
        ]
        with pytest.raises(UnknownUser):
            await host.memory.search("tea", "mallory")
        with pytest.raises(HostMisuse, match="application's own"):
            await host.memory.delete("0")
    assert not (tmp_path / "state" / "memory.db").exists()


# An embedder that is a plugin

EMBEDDER = """
    from zlib import crc32
    from plughost_sdk import HostError, Plugin

    plugin = Plugin()

    @plugin.tool
    async def embed(texts: list[str]) -> list[list[float]]:
        vectors = []
        for text in texts:
            vector = [0.0] * 64
            for start in range(len(text) - 2):
                vector[crc32(text[start : start + 3].encode()) % 64] += 1.0
            vectors.append(vector)
        return vectors

    @plugin.tool
    async def embed_badly(texts: list[str]) -> list[str]:
        return texts

    @plugin.tool
    async def ask(query: str) -> str:
        try:
            return str(await plugin.api.memory.search(query, "ada"))
        except HostError as exc:
            return f"{exc.code}: {exc}"
"""


@on_both_loops
async def test_a_plugin_embeds_what_another_remembers(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    pytest.importorskip("apsw", reason="needs plughost[vector]")
    pytest.importorskip("sqlite_vec", reason="needs plughost[vector]")
    make_plugin("trigrams", EMBEDDER, permissions=["tools:register", "memory:read"])
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    config = trusting(state_folder=tmp_path, memory=MemoryConfig(embedder="trigrams.embed"))
    async with Host([folder], config) as host:
        for content in ("photography at night", "the bus at nine"):
            await host.call("notes.note", {"content": content}, context=ADA)
        [first, *_] = await host.call("notes.recall", {"query": "photographs"}, context=ADA)
        assert first.startswith("[semantic] photography at night")
        # It would be called to answer itself.
        asked = await host.call("trigrams.ask", {"query": "photographs"})
        assert asked.startswith("too_deep: ")
    config = trusting(state_folder=tmp_path, memory=MemoryConfig(embedder="trigrams.embed_badly"))
    async with Host([folder], config) as host:
        with pytest.raises(ToolError, match=r"embedder.*no list of numbers") as refusal:
            await host.call("notes.note", {"content": "lost"}, context=ADA)
        assert refusal.value.code == "embedding_failed"


def test_memory_is_counted_in_the_plugins_rate(tmp_path: Path, make_plugin: MakePlugin) -> None:
    folder = make_plugin("notes", NOTES, permissions=READ_AND_WRITE)
    with BlockingHost([folder], trusting(state_folder=tmp_path, rates=Rates(operations=1))) as host:
        host.call("notes.recall", {"query": "tea"}, context=ADA)
        with pytest.raises(ToolError) as refusal:
            host.call("notes.recall", {"query": "tea"}, context=ADA)
    assert refusal.value.code == "rate_limited"
