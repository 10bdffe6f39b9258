"""`plughost users` in processes of its own, beside a host that runs and without one."""

from pathlib import Path

import pytest

from plughost import BlockingHost, ToolError

from .cli_runner import plughost as run
from .conftest import MakePlugin, trusting

ASKS = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.tool
    async def preferences(user: str) -> dict:
        return await plugin.api.users.get_preferences(user)
"""


def test_a_user_is_added_shown_changed_and_removed(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    assert run("users", "list", *state).out == "no users: plughost users add ID\n"
    added = run("users", "add", "ada", "theme=dark", "size:=12", "--name", "Ada L", *state)
    assert (added.code, added.out) == (0, "ada added\n")
    run("users", "add", "bob", "--preferences", '{"theme": "light"}', "--email", "b@c.d", *state)
    run("users", "set", "ada", "lang=en", "--unset", "theme", *state)
    ada = {
        "id": "ada",
        "name": "Ada L",
        "email": "",
        "preferences": {"size": 12, "lang": "en"},
    }
    assert run("users", "show", "ada", "--json", *state).json == ada
    assert '"lang": "en"' in run("users", "show", "ada", *state).out
    assert run("users", "list", *state).out.splitlines() == [
        "ID   NAME   EMAIL  PREFERENCES",
        "ada  Ada L  -                2",
        "bob  -      b@c.d            1",
    ]
    assert run("users", "remove", "ada", "--json", *state).json == {"removed": "ada"}
    assert [user["id"] for user in run("users", "list", "--json", *state).json] == ["bob"]
    assert (tmp_path / "state" / "users.db").stat().st_mode & 0o777 == 0o600


def test_wrong_usage_is_told_with_what_to_type(tmp_path: Path) -> None:
    state = ("--state", tmp_path)
    run("users", "add", "ada", *state)
    taken = run("users", "add", "ada", "--json", *state)
    assert (taken.code, taken.error["next"]) == (
        2,
        "plughost users set ada, to change what is there",
    )
    for command in ("show", "set", "remove"):
        unknown = run("users", command, "mallory", "--json", *state)
        assert (unknown.code, unknown.error["code"]) == (4, "unknown_user")
    for wrong in (["--preferences", "[1]"], ["--preferences", "{"], ["size:=x"], ["-x"], ["plain"]):
        assert run("users", "set", "ada", *wrong, *state).code == 2, wrong
    assert run("users", "add", "a\nb", *state).code == 2
    too_much = run("users", "set", "ada", f"x={'y' * 70_000}", *state)
    assert (too_much.code, "65,536 bytes" in too_much.err) == (2, True)


def test_a_damaged_table_is_named_once_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "users.db"
    file.write_bytes(b"this is no database" * 100)
    refused = run("users", "add", "ada", "--json", "--state", tmp_path)
    assert (refused.code, refused.error["code"]) == (1, "store_failed")
    assert str(file) in refused.error["message"]
    assert file.read_bytes() == b"this is no database" * 100


def test_a_running_host_sees_what_the_command_changes(
    tmp_path: Path, make_plugin: MakePlugin
) -> None:
    folder = make_plugin("asks", ASKS, permissions=["tools:register", "users:read"])
    state = ("--state", tmp_path / "state")
    with BlockingHost([folder], trusting(state_folder=tmp_path / "state")) as host:
        with pytest.raises(ToolError, match="there is no user 'ada'"):
            host.call("asks.preferences", {"user": "ada"})
        for theme in ("dark", "light"):
            command = "add" if theme == "dark" else "set"
            assert run("users", command, "ada", f"theme={theme}", *state).code == 0
            assert host.call("asks.preferences", {"user": "ada"}) == {"theme": theme}
