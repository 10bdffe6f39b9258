"""`api.users` in a real worker, over the embedded table and over an application's directory."""

from pathlib import Path
from typing import Any

import pytest

from plughost import CallContext, Host, HostMisuse, ToolError
from plughost.service_config import UsersConfig
from plughost.services.store_errors import StoreDamaged, StoreTooNew
from plughost.services.users.table import MAX_PREFERENCES, UserExists, UserTable
from plughost.user_directory import User

from .conftest import MakePlugin, trusting

pytestmark = pytest.mark.anyio

on_both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])

ASKS = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.tool
    async def who(user: str | None = None) -> list[str]:
        found = await plugin.api.users.get(user)
        return [found.id, found.name, found.email, str(found)]

    @plugin.tool
    async def preferences(user: str | None = None) -> dict:
        return await plugin.api.users.get_preferences(user)

    @plugin.tool
    def theme_in_a_thread(user: str) -> str:
        return plugin.api.blocking.users.get_preferences(user)["theme"]
"""

ADA = User("ada", "Ada Lovelace", "ada@example.org", {"theme": "dark", "sizes": [1, 2.5, None]})


@on_both_loops
async def test_a_plugin_asks_who_a_user_is_and_what_they_prefer(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("asks", ASKS, permissions=["tools:register", "users:read"])
    async with Host([folder], trusting(state_folder=tmp_path)) as host:
        await host.users.table.add(ADA)
        assert await host.users.get("ada") == ADA
        ada = ["ada", "Ada Lovelace", "ada@example.org", "Ada Lovelace"]
        assert await host.call("asks.who", {"user": "ada"}) == ada
        context = CallContext(user_id="ada")
        assert await host.call("asks.who", context=context) == ada
        assert await host.call("asks.preferences", context=context) == ADA.preferences
        assert await host.call("asks.theme_in_a_thread", {"user": "ada"}) == "dark"


@on_both_loops
async def test_a_user_id_that_is_not_there_is_a_clear_error(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("asks", ASKS, permissions=["tools:register", "users:read"])
    async with Host([folder], trusting(state_folder=tmp_path)) as host:
        for params, problem in (
            ({"user": "mallory"}, "there is no user 'mallory'"),
            ({"user": "ada' OR '1' = '1"}, "there is no user"),
            ({"user": "\0"}, "there is no user"),
            ({}, "no user was named"),
        ):
            for tool in ("asks.who", "asks.preferences"):
                with pytest.raises(ToolError, match=problem) as refusal:
                    await host.call(tool, params)
                assert refusal.value.code == "unknown_user"
        with pytest.raises(ToolError) as refusal:
            await host.call("asks.who", {"user": "u" * 257})
        assert refusal.value.code == "invalid_params"


async def test_without_the_permission_nobody_is_told(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("asks", ASKS)
    async with Host([folder], trusting(state_folder=tmp_path)) as host:
        for tool in ("asks.who", "asks.preferences"):
            with pytest.raises(ToolError) as refusal:
                await host.call(tool, {"user": "ada"})
            assert refusal.value.code == "permission_denied"


class Directory:
    """An application's own."""

    async def get(self, user_id: str) -> User | None:
        return User(user_id, "Bob", preferences={"theme": "light"}) if user_id == "bob" else None


@on_both_loops
async def test_an_application_puts_its_own_directory_in_place(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("asks", ASKS, permissions=["tools:register", "users:read"])
    config = trusting(state_folder=tmp_path / "state", users=UsersConfig(directory=Directory()))
    async with Host([folder], config) as host:
        assert await host.call("asks.who", {"user": "bob"}) == ["bob", "Bob", "", "Bob"]
        assert await host.call("asks.preferences", {"user": "bob"}) == {"theme": "light"}
        with pytest.raises(ToolError, match="there is no user 'ada'"):
            await host.call("asks.who", {"user": "ada"})
    assert not (tmp_path / "state" / "users.db").exists()


async def test_a_damaged_table_stops_no_plugin_and_is_left_as_it_is(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("asks", ASKS, permissions=["tools:register", "users:read"])
    file = tmp_path / "users.db"
    file.write_bytes(b"this is no database" * 100)
    async with Host([folder], trusting(state_folder=tmp_path)) as host:
        with pytest.raises(ToolError, match="its store is damaged; the host's log") as refusal:
            await host.call("asks.who", {"user": "ada"})
        assert refusal.value.code == "store_failed"
        assert str(tmp_path) not in str(refusal.value)
        with pytest.raises(StoreDamaged, match=r"users\.db"):
            await host.users.get("ada")
        assert host.plugins["asks"].state == "active"
    assert file.read_bytes() == b"this is no database" * 100


# The table


async def test_a_table_of_a_later_version_is_refused_untouched(tmp_path: Path) -> None:
    import sqlite3

    file = tmp_path / "users.db"
    table = UserTable(file)
    await table.add(ADA)
    await table.aclose()
    later = sqlite3.connect(file)
    later.execute("PRAGMA user_version = 99")
    later.close()
    before = file.read_bytes()
    table = UserTable(file)
    with pytest.raises(StoreTooNew, match="version 99"):
        await table.get("ada")
    await table.aclose()
    assert file.read_bytes() == before


@on_both_loops
async def test_the_table_keeps_adds_changes_and_removes(tmp_path: Path) -> None:
    table = UserTable(tmp_path / "users.db")
    assert await table.is_empty()
    await table.add(ADA)
    await table.add(User("bob"))
    with pytest.raises(UserExists, match="'ada' already"):
        await table.add(User("ada", "Somebody else"))
    changed = await table.change(
        "ada", name="Countess", preferences={"font": "serif"}, remove=["theme", "unknown"]
    )
    assert changed == User(
        "ada", "Countess", "ada@example.org", {"sizes": [1, 2.5, None], "font": "serif"}
    )
    assert [user.id for user in await table.list()] == ["ada", "bob"]
    assert await table.change("mallory", name="x") is None
    assert await table.remove("bob")
    assert not await table.remove("bob")
    await table.aclose()
    again = UserTable(tmp_path / "users.db")
    assert await again.get("ada") == changed
    await again.aclose()


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        (User(""), "1 to 256 characters"),
        (User("u" * 257), "1 to 256 characters"),
        (User("a\nb"), "control characters"),
        (User("ada", "x" * 1001), "at most 1000 characters"),
        (User("ada", "a\x1b[2Jb"), "control"),
        (User("ada", preferences={"x": "y" * MAX_PREFERENCES}), "at most 65,536 bytes"),
        (User("ada", preferences={"x": object()}), "what JSON can hold"),
        (User("ada", preferences={1: "x"}), "names of preferences"),  # type: ignore[dict-item] # so
    ],
)
async def test_a_user_that_cannot_be_is_refused_and_nothing_is_kept(
    tmp_path: Path, user: User, problem: str
) -> None:
    table = UserTable(tmp_path / "users.db")
    with pytest.raises(HostMisuse, match=problem):
        await table.add(user)
    assert await table.is_empty()
    await table.aclose()


async def test_preferences_do_not_grow_beyond_their_bound_by_changes(tmp_path: Path) -> None:
    table = UserTable(tmp_path / "users.db")
    half: dict[str, Any] = {"x": "y" * (MAX_PREFERENCES // 2)}
    await table.add(User("ada", preferences=half))
    with pytest.raises(HostMisuse, match="at most 65,536 bytes"):
        await table.change("ada", preferences={"z": half["x"]})
    user = await table.get("ada")
    await table.aclose()
    assert user is not None
    assert user.preferences == half
