"""The service `storage` as plugins see it, in real workers."""

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plughost import (
    Host,
    Limits,
    PluginConfig,
    Rates,
    StorageConfig,
    ToolError,
)
from plughost_protocol import ErrorCode

from .conftest import MakePlugin, trusting
from .redis_server import redis_server
from .storage_plugin import ASKS, PLUGIN, config, running

pytestmark = pytest.mark.anyio

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture(params=["sqlite", "redis"])
def storage_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
    else:
        with redis_server() as server:
            yield server.url


@pytest.fixture
def notes(make_plugin: MakePlugin) -> Path:
    return make_plugin("notes", PLUGIN, permissions=ASKS)


@on_both_loops
async def test_a_plugin_keeps_values_and_finds_them_again(
    notes: Path, tmp_path: Path, storage_url: str
) -> None:
    settings = config(tmp_path / "state", storage=StorageConfig(url=storage_url))
    async with running(notes, settings) as (host, ask):
        assert await ask("get", "key") is None
        assert await ask("get", "key", "default") == "default"
        assert await ask("set", "key", {"a": [1, 2.5, None, True, b"\0\xff", "é"]}) is None
        assert await ask("get", "key") == {"a": [1, 2.5, None, True, b"\0\xff", "é"]}
        await ask("set", "none", None)
        assert await ask("get", "none", "default") is None
        assert await ask("has", "none")
        assert not await ask("has", "other")
        await ask("set", "cache:b", 1, ttl=3600)
        await ask("set", "cache:a", 1)
        assert await ask("list") == ["cache:a", "cache:b", "key", "none"]
        assert await ask("list", "cache:") == ["cache:a", "cache:b"]
        assert await ask("delete", "key")
        assert not await ask("delete", "key")
        assert await host.call("notes.ask_in_a_thread", {"key": "k", "value": "v"}) == "v"
        await ask("set", "key", 1, namespace="stats")
        assert await ask("clear") == 4
        assert await ask("list") == []
        assert await ask("get", "key", namespace="stats") == 1


async def test_each_user_has_values_of_their_own(notes: Path, tmp_path: Path) -> None:
    async with running(notes, config(tmp_path / "state")) as (_, ask):
        await ask("set", "key", "all")
        await ask("set", "key", "Ada's", scope="user", caller="ada")
        await ask("set", "key", "Bob's", scope="user", user="bob")
        assert await ask("get", "key") == "all"
        assert await ask("get", "key", scope="user", caller="bob") == "Bob's"
        assert await ask("get", "key", scope="user", caller="bob", user="ada") == "Ada's"
        assert await ask("get", "key", scope="user", caller="eve") is None
        with pytest.raises(ToolError, match=r"needs a user.*CallContext") as caught:
            await ask("get", "key", scope="user")
        assert caught.value.code == ErrorCode.INVALID_PARAMS
        with pytest.raises(ToolError, match="scope is `plugin`: make it `user`"):
            await ask("get", "key", user="ada")


async def test_no_plugin_sees_the_values_of_another(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    make_plugin("notes", PLUGIN, permissions=ASKS)
    folder = make_plugin("thief", PLUGIN, permissions=ASKS)
    async with running(folder, config(tmp_path / "state")) as (_, ask):
        await ask("set", "key", "secret")
        await ask("set", "key", "secret", scope="user", user="ada")
        for key in ("key", "notes:key", "../notes/key", "plugin:notes:plugin:default:key"):
            assert await ask("get", key, plugin="thief") is None
            assert await ask("get", key, scope="user", user="ada", plugin="thief") is None
        assert await ask("list", plugin="thief") == []
        assert await ask("clear", plugin="thief") == 0
        assert await ask("get", "key") == "secret"


async def test_no_plugin_reaches_the_file_by_itself(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    notes = make_plugin("notes", PLUGIN, permissions=ASKS)
    async with running(notes, config(state)) as (host, ask):
        await ask("set", "key", "secret")
        for name in ("storage.db", "storage.db-wal"):
            assert (state / name).stat().st_size > 0
            stolen = await host.call("notes.steal", {"path": str(state / name)})
            assert stolen in ("FileNotFoundError", "PermissionError")
    asks = {"permission": f"fs:read:{state}", "reason": "It is curious."}
    reader = make_plugin("reader", PLUGIN, permissions=["tools:register", asks])
    async with Host([reader / "reader"], config(state)) as host:
        assert "which cannot be" in host.problems["reader"]


@pytest.mark.parametrize(
    ("missing", "methods"),
    [
        ("storage:read", [("get", "k"), ("has", "k"), ("list",)]),
        ("storage:write", [("set", "k", 1), ("delete", "k"), ("clear",)]),
    ],
)
async def test_without_the_permission_nothing_is_read_or_written(
    make_plugin: MakePlugin, tmp_path: Path, missing: str, methods: list[tuple[Any, ...]]
) -> None:
    asks = [permission for permission in ASKS if permission != missing]
    folder = make_plugin("notes", PLUGIN, permissions=asks)
    async with running(folder, config(tmp_path / "state")) as (_, ask):
        for method in methods:
            with pytest.raises(ToolError, match=missing) as caught:
                await ask(*method)
            assert caught.value.code == ErrorCode.PERMISSION_DENIED
    # Nothing was asked of the store, and so there is none.
    assert not (tmp_path / "state" / "storage.db").exists()


async def test_values_survive_a_reload_a_crash_and_the_host(notes: Path, tmp_path: Path) -> None:
    settings = config(tmp_path / "state")
    async with running(notes, settings) as (host, ask):
        plugin = host.plugin("notes")
        await ask("set", "first", 1)
        await plugin.stop()
        await plugin.start()
        assert await ask("get", "first") == 1
        await ask("set", "second", 2)
        pid = plugin.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await ask("get", "second") == 2  # waits for the next worker
        assert plugin.pid != pid
    async with running(notes, settings) as (_, ask):
        assert await ask("list") == ["first", "second"]
    assert (tmp_path / "state" / "storage.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("limits", [Limits(storage_size=100_000), Limits(storage_keys=24)])
async def test_a_plugin_keeps_no_more_than_its_quota_however_it_asks(
    notes: Path, tmp_path: Path, storage_url: str, limits: Limits
) -> None:
    settings = config(
        tmp_path / "state",
        storage=StorageConfig(url=storage_url),
        plugins={"notes": PluginConfig(limits=limits)},
    )
    async with running(notes, settings) as (host, ask):
        # 24 entries of 4 bytes and 4003 (with msgpack's header) fit in either limit.
        assert await host.call("notes.fill", {"count": 70, "size": 4000}) == 24
        kept = await ask("list")
        assert len(kept) == 24
        with pytest.raises(ToolError, match=r"delete some first.*Limits\.storage_") as caught:
            await ask("set", "more", bytes(5000), namespace="other", scope="user", user="ada")
        assert caught.value.code == ErrorCode.QUOTA_EXCEEDED
        assert await ask("list", namespace="other", scope="user", user="ada") == []
        await ask("set", kept[0], bytes(3990))
        await ask("delete", kept[1])
        await ask("set", "more", bytes(4000), namespace="other")


async def test_a_value_larger_than_the_quota_is_refused_at_once(
    notes: Path, tmp_path: Path
) -> None:
    async with running(notes, config(tmp_path / "state")) as (_, ask):
        with pytest.raises(ToolError, match="10,000,0") as caught:
            await ask("set", "key", bytes(10_000_001))
        assert caught.value.code == ErrorCode.QUOTA_EXCEEDED
        await ask("set", "key", bytes(9_999_000))
        assert await ask("get", "key") == bytes(9_999_000)
        await ask("set", "key", bytes(9_999_001))
        assert not await ask("has", "more")


BAD: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (("get", ""), {}, "length >= 1"),
    (("get", "a\nb"), {}, "control character"),
    (("get", "a\0b"), {}, "control character"),
    (("get", "a\x85"), {}, "control character"),
    (("get", "x" * 513), {}, "length <= 512"),
    (("get", "x" * 1_000_000), {}, "length <= 512"),
    (("get", 7), {}, r"got `int` - at `\$\.key`"),
    (("list", "\x7f"), {}, "control character"),
    (("list", "x" * 1_000_000), {}, "length <= 512"),
    (("get", "k"), {"namespace": ""}, "length >= 1"),
    (("get", "k"), {"namespace": "a\tb"}, "control character"),
    (("get", "k"), {"namespace": "n" * 1_000_000}, "length <= 100"),
    (("get", "k"), {"scope": "host"}, "'host'"),
    (("get", "k"), {"scope": "user", "user": ""}, "length >= 1"),
    (("get", "k"), {"scope": "user", "user": "u" * 1_000_000}, "length <= 1000"),
    (("set", "k", 1), {"ttl": 0}, ">= 0.01"),
    (("set", "k", 1), {"ttl": -1}, ">= 0.01"),
    (("set", "k", 1), {"ttl": math.nan}, ">= 0.01"),
    (("set", "k", 1), {"ttl": math.inf}, "<= 315360000"),
    (("set", "k", 1), {"ttl": -math.inf}, ">= 0.01"),
    (("set", "k", 1), {"ttl": "1 h"}, "got `str`"),
]


async def test_what_cannot_be_is_refused_and_changes_nothing(notes: Path, tmp_path: Path) -> None:
    async with running(notes, config(tmp_path / "state")) as (host, ask):
        await ask("set", "k", "kept")
        for method, options, why in BAD:
            with pytest.raises(ToolError, match=why) as caught:
                await ask(*method, **options)
            assert caught.value.code == ErrorCode.INVALID_PARAMS
            assert len(str(caught.value)) < 500
        for kind in ("object", "huge", "half", "loop", "ext", "key", "user"):
            with pytest.raises(ToolError) as caught:
                await host.call("notes.odd", {"kind": kind})
            assert caught.value.code == ErrorCode.INVALID_PARAMS, kind
        assert await ask("list") == ["k"]
        assert await ask("get", "k") == "kept"
        await host.call("notes.odd", {"kind": "set"})
        assert await ask("get", "k") == [1, 2]


async def test_a_value_is_converted_to_the_type_that_is_asked_for(
    notes: Path, tmp_path: Path
) -> None:
    async with running(notes, config(tmp_path / "state")) as (host, ask):
        assert await host.call("notes.get_typed", {"key": "places"}) == ""
        await ask("set", "places", [{"name": "Oslo"}, {"name": "Rome"}])
        assert await host.call("notes.get_typed", {"key": "places"}) == "Oslo,Rome"
        await ask("set", "places", [{"name": 5}])
        assert "Expected `str`" in await host.call("notes.get_typed", {"key": "places"})


async def test_keys_with_separators_are_keys_like_others(notes: Path, tmp_path: Path) -> None:
    async with running(notes, config(tmp_path / "state")) as (_, ask):
        keys = sorted([":", "a:b", "a/b", "a.b", "../../etc", "%s", "'; DROP TABLE entries; --"])
        for key in keys:
            await ask("set", key, key, namespace="a:b/c'")
        assert await ask("list", namespace="a:b/c'") == keys
        for key in keys:
            assert await ask("get", key, namespace="a:b/c'") == key


async def test_storage_is_one_of_the_services_that_a_plugin_asks_so_often(
    notes: Path, tmp_path: Path
) -> None:
    settings = trusting(state_folder=tmp_path / "state", rates=Rates(services={"storage": 3}))
    async with running(notes, settings) as (_, ask):
        for number in range(3):
            await ask("set", str(number), 1)
        with pytest.raises(ToolError, match="'storage' too often") as caught:
            await ask("get", "0")
        assert caught.value.code == ErrorCode.RATE_LIMITED
