"""`plughost grant`, `revoke` and `grants`, and how `run`, `call` and `check` hold to them."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from .cli_runner import Finished, Process, plughost, terminal, write_plugin

CODE = """
from plughost_sdk import Plugin

plugin = Plugin()

@plugin.tool
async def hello() -> str:
    return "hello"
"""


class Desk:
    """A folder that an operator works in, with plugins and a home of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugins = root / "plugins"
        self.plugins.mkdir()
        self.data = root / "data"
        self.data.mkdir()
        self.env = {"XDG_CONFIG_HOME": str(root / "config")}
        self.own = root / "config" / "plughost" / "plughost.toml"
        self.project = root / "plughost.toml"
        self.socket = root / "s"

    def plugin(self, plugin_id: str = "demo", *permissions: object, code: str = CODE) -> Path:
        asked = list(permissions) or ["tools:register"]
        return write_plugin(self.plugins, plugin_id, code, permissions=asked)

    def ask(self, plugin_id: str, *permissions: object) -> None:
        """An update of the plugin asks for something else."""
        path = self.plugins / plugin_id / "manifest.json"
        fields = json.loads(path.read_text())
        path.write_text(json.dumps(fields | {"permissions": list(permissions)}))

    def __call__(self, *arguments: object) -> Finished:
        return plughost(*arguments, cwd=self.root, env=self.env, socket=self.socket)

    def terminal(self, *arguments: object) -> Any:
        return terminal(*arguments, cwd=self.root, env=self.env, socket=self.socket)

    def entry(self, action: str, path: Path | None = None, **more: object) -> dict[str, object]:
        """An entry for the plugin's manifest that asks for files."""
        reason = {"permission": f"fs:{action}:{path or self.data}", "reason": "it reads the data"}
        return reason | more


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# grant


def test_grant_writes_into_ones_own_file_that_nobody_else_reads(desk: Desk) -> None:
    desk.plugin()
    done = desk("grant", "demo", "tools:register")
    assert done.code == 0, done.err
    assert f"granted to demo, in {desk.own}" in done.out
    assert "tools:register  offer tools" in done.out
    assert 'demo = ["tools:register"]' in desk.own.read_text()
    assert stat.S_IMODE(desk.own.stat().st_mode) == 0o600
    assert [path.name for path in desk.own.parent.iterdir()] == ["plughost.toml"]
    assert desk("call", "--dir", "plugins", "demo.hello").out == "hello\n"


def test_grant_keeps_what_a_person_has_written_in_the_file_of_the_folder(desk: Desk) -> None:
    desk.plugin("demo", "tools:register", "users:read")
    desk.project.write_text("# mine\n[grants]\n# first\ndemo = [\n  'users:read', # why\n]\n")
    desk.project.chmod(0o640)
    assert desk("grant", "demo", "--all").code == 0
    assert desk.project.read_text() == (
        "# mine\n[grants]\n# first\ndemo = [\n  'users:read', # why\n  \"tools:register\",\n]\n"
    )
    assert stat.S_IMODE(desk.project.stat().st_mode) == 0o640
    assert not desk.own.exists()


def test_grant_takes_a_file_of_another_name(desk: Desk, tmp_path: Path) -> None:
    desk.plugin()
    file = tmp_path / "grants.toml"
    done = desk("grant", "demo", "--all", "--file", file, "--json")
    assert done.json == {
        "plugin": "demo", "file": str(file), "granted": ["tools:register"], "missing": [],
    }  # fmt: skip
    assert desk("check", "plugins").code == 7
    assert desk("check", "plugins", "--file", file).code == 0
    assert desk("call", "--dir", "plugins", "--file", file, "demo.hello").code == 0


def test_a_wider_grant_covers_what_is_asked_for(desk: Desk) -> None:
    (desk.data / "in").mkdir()
    desk.plugin("demo", "tools:register", desk.entry("read", desk.data / "in"))
    done = desk("grant", "demo", f"fs:write:{desk.data}")
    assert done.code == 0, done.err
    assert "it asks for more: plughost grant demo tools:register" in done.out
    assert desk("grant", "demo", "tools:register").code == 0
    assert desk("check", "plugins").code == 0
    again = desk("grant", "demo", "tools:register")
    assert (again.code, "granted all of it already" in again.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["dmo", "tools:register"], 4, "there is no plugin 'dmo'; did you mean 'demo'?"),
        (["broken", "--all"], 3, "broken is no plugin yet"),
        (["demo"], 2, "it was given neither"),
        (["demo", "tools:register", "--all"], 2, "it was given both"),
        (["demo", "*"], 2, "plughost grant demo --all"),
        (["demo", "tools:registr"], 2, "try: plughost grant demo tools:register"),
        (["demo", "users:read"], 2, "demo does not ask for users:read"),
        (["demo", "events:emit:a"], 2, "it asks for more, events:emit, and less"),
        (["demo", "net:connect:*"], 2, "'*' is too wide"),
        (["demo", "net:connect:*.com"], 2, "'*.com' is too wide"),
        (["demo", "fs:read:/"], 2, "/ is too wide"),
        (["demo", "fs:read:{root}/gone"], 2, "gone does not exist"),
        (["demo", "fs:read:{root}/link"], 2, "leads over a symbolic link to {root}/data"),
        (["demo", "fs:read:{root}"], 2, "holds {root}"),
        (["demo", "fs:read:{root}/plugins/other"], 2, "a plugin's own"),
    ],
)
def test_a_grant_that_cannot_be_is_refused_and_changes_nothing(
    desk: Desk, arguments: list[str], code: int, told: str
) -> None:
    root = str(desk.root)
    paths = ("/", f"{root}/gone", f"{root}/link", root, f"{root}/plugins/other")
    asked = [desk.entry("read", Path(path)) for path in paths]
    desk.plugin("demo", "tools:register", "events:emit", *asked)
    desk.plugin("other")
    write_plugin(desk.plugins, "broken", "", version="one")
    (desk.root / "link").symlink_to(desk.data)
    done = desk("grant", *[argument.format(root=root) for argument in arguments])
    assert (done.code, done.out) == (code, ""), done
    assert told.format(root=root) in done.err
    assert len(done.err.splitlines()) <= 3
    assert not desk.own.exists()


def test_one_permission_that_cannot_be_granted_stops_the_others(desk: Desk) -> None:
    desk.plugin("demo", "tools:register", desk.entry("read", Path("/etc")))
    done = desk("grant", "demo", "--all")
    assert (done.code, "/etc is too wide" in done.err) == (2, True)
    assert not desk.own.exists()


# The files


def test_a_syntax_error_is_told_with_line_and_column_and_left_alone(desk: Desk) -> None:
    desk.plugin()
    desk.project.write_text("[grants]\ndemo = tools\n")
    for command in (["grant", "demo", "--all"], ["grants"], ["run"], ["revoke", "demo", "--all"]):
        done = desk(*command)
        assert (done.code, "plughost.toml:2:8: is not TOML" in done.err) == (1, True), done
    assert desk.project.read_text() == "[grants]\ndemo = tools\n"


def test_a_file_that_others_may_write_is_refused(desk: Desk) -> None:
    desk.plugin()
    desk.project.write_text("[grants]\n")
    desk.project.chmod(0o666)
    done = desk("run")
    assert (done.code, "can be written by others" in done.err) == (1, True)
    assert "chmod go-w plughost.toml" in done.err


def test_a_plugin_grants_itself_nothing(desk: Desk) -> None:
    root = desk.plugin()
    (root / "plughost.toml").write_text('[grants]\ndemo = ["*"]\n')
    (desk.plugins / "plughost.toml").write_text('[grants]\ndemo = ["*"]\n')
    for cwd, folder in ((root, "."), (desk.plugins, ".")):
        done = plughost("check", folder, cwd=cwd, env=desk.env)
        assert done.code == 7, done
        assert "warning: plughost.toml is not read: it lies in" in done.err
    for file in (root / "plughost.toml", desk.plugins / "plughost.toml"):
        done = desk("check", "plugins", "--file", file)
        assert (done.code, "a plugin grants itself nothing" in done.err) == (1, True)
    done = plughost("grant", "demo", "--all", "--dir", ".", cwd=root, env=desk.env)
    assert done.code == 0, done
    assert 'demo = ["tools:register"]' in desk.own.read_text()


def test_a_file_where_a_plugin_may_write_is_not_read(desk: Desk) -> None:
    desk.plugin("writer", desk.entry("write"))
    assert desk("grant", "writer", "--all").code == 0
    (desk.data / "plughost.toml").write_text('[grants]\nwriter = ["*"]\n')
    done = plughost("grants", "--dir", desk.plugins, cwd=desk.data, env=desk.env)
    assert "plughost.toml is not read: it can be written by writer" in done.err


def test_warnings_and_errors_are_json_too(desk: Desk) -> None:
    root = desk.plugin()
    (root / "plughost.toml").write_text("")
    done = plughost("run", ".", "--json", cwd=root, env=desk.env)
    warning, error = map(json.loads, done.err.splitlines())
    assert "is not read" in warning["warning"]
    assert error["error"]["exit_code"] == 7


# revoke


def test_revoke_takes_back_one_or_all_out_of_every_file(desk: Desk) -> None:
    desk.plugin("demo", "tools:register", "users:read")
    assert desk("grant", "demo", "--all").code == 0
    desk.project.write_text('[grants]\ndemo = ["users:read"] # here\nother = ["users:read"]\n')
    done = desk("revoke", "demo", "users:read")
    assert (done.code, f"{desk.own}, plughost.toml" in done.out) == (0, True), done
    assert "tools:register" in desk.own.read_text()
    assert "users:read" not in desk.own.read_text()
    assert desk.project.read_text() == '[grants]\nother = ["users:read"]\n'
    assert desk("revoke", "demo", "--all").code == 0
    assert "demo" not in desk.own.read_text().partition("[grants]")[2]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["dmo", "--all"], 4, "did you mean 'demo'?"),
        (["demo", "users:read"], 2, "it is granted tools:register"),
        (["demo", "tools:register", "users:read"], 2, "nothing was revoked"),
        (["demo"], 2, "it was given neither"),
    ],
)
def test_what_is_not_granted_cannot_be_revoked(
    desk: Desk, arguments: list[str], code: int, told: str
) -> None:
    desk.plugin()
    assert desk("grant", "demo", "--all").code == 0
    before = desk.own.read_text()
    done = desk("revoke", *arguments)
    assert (done.code, told in done.err) == (code, True), done
    assert desk.own.read_text() == before


# grants


def test_grants_shows_what_is_asked_for_in_words_and_from_which_file_it_is_granted(
    desk: Desk,
) -> None:
    optional = {"permission": "events:emit", "optional": True}
    desk.plugin("demo", "tools:register", desk.entry("read"), optional)
    desk.project.write_text('[grants]\ndemo = ["tools:register", "users:read"]\ngone = ["*"]\n')
    done = desk("grants")
    assert done.code == 0, done.err
    rows = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "demo tools:register offer tools - yes plughost.toml" in rows
    words = f"demo fs:read:{desk.data} read {desk.data} and all below it it reads the data no -"
    assert words in rows
    assert "demo events:emit send events - no (optional) -" in rows
    assert any("users:read" in row and "(not asked for) unused" in row for row in rows)
    asked = [row for row in desk("grants", "demo", "--json").json if row["asked"]]
    assert [row["granted"] for row in asked] == [True, False, False]
    assert asked[1]["reason"] == "it reads the data"
    assert desk("grants", "dmo").code == 4


# run


def test_run_without_a_terminal_refuses_and_prints_the_commands(desk: Desk) -> None:
    desk.plugin("demo", "tools:register", desk.entry("read"))
    desk.plugin("other")
    done = desk("run")
    assert (done.code, done.out) == (7, "")
    command = f"plughost grant demo tools:register fs:read:{desk.data}"
    tried = [line.strip() for line in done.err.splitlines() if "try:" in line]
    assert tried == [f"try: {command}", "try: plughost grant other tools:register"]
    assert "offer tools" in done.err
    told = desk("run", "--json").error
    assert (told["code"], told["exit_code"]) == ("permission_denied", 7)
    assert told["plugins"][0]["command"] == command
    assert told["plugins"][0]["missing"][1]["reason"] == "it reads the data"
    # The commands are those that do it.
    for line in tried:
        assert desk(*line.split()[2:]).code == 0
    host = Process("run", desk.plugins, socket=desk.socket, env=desk.env)
    try:
        host.wait_for("^ready")
    finally:
        host.end()


def test_a_command_that_is_printed_names_the_folder_and_the_file(desk: Desk) -> None:
    desk.plugin()
    file = desk.root / "my grants.toml"
    file.write_text("")
    done = desk("run", desk.plugins, "--file", file)
    assert f"plughost grant demo tools:register --dir {desk.plugins} --file '{file}'" in done.err


def test_run_at_a_terminal_asks_and_remembers_a_yes(desk: Desk) -> None:
    desk.plugin("demo", "tools:register", desk.entry("read"))
    with desk.terminal("run") as person:
        person.wait_for("Grant? [y/N/v(iew all)] ")
        assert " asks for these:" in person.seen
        assert "offer tools" in person.seen
        assert 'it says: "it reads the data"' in person.seen
        assert "author" not in person.seen
        person.type("v\n")
        person.wait_for("where it is")
        person.wait_for("Grant? ")
        assert str(desk.plugins / "demo") in person.seen.replace("\r\n", "")
        person.type("y\n")
        person.wait_for("ready")
        person.type("\x03")
        assert person.wait() == 0
    assert f'"fs:read:{desk.data}"' in desk.own.read_text()
    with desk.terminal("run") as person:
        person.wait_for("ready")
        assert "Grant?" not in person.seen


def test_after_an_update_only_the_difference_is_asked(desk: Desk) -> None:
    desk.plugin()
    assert desk("grant", "demo", "--all").code == 0
    desk.ask("demo", "tools:register", "users:read")
    with desk.terminal("run") as person:
        person.wait_for("Grant? ")
        assert " asks for more:" in person.seen
        assert "users:read" in person.seen
        assert "tools:register" not in person.seen
        person.type("y\n")
        person.wait_for("ready")
    assert 'demo = ["tools:register", "users:read"]' in desk.own.read_text()


@pytest.mark.parametrize("answer", ["\n", "n\n", "nonsense\n", "\x04"])
def test_anything_but_a_yes_grants_nothing_and_the_others_run(desk: Desk, answer: str) -> None:
    desk.plugin("demo")
    desk.plugin("other")
    assert desk("grant", "other", "--all").code == 0
    with desk.terminal("run") as person:
        person.wait_for("Grant? ")
        person.type(answer)
        person.wait_for("ready")
        assert "not granted: demo will not run" in person.seen
        assert "plugin demo does not run" in person.seen
    assert "demo" not in desk.own.read_text().partition("[grants]")[2]


def test_ctrl_c_at_the_question_ends_the_command(desk: Desk) -> None:
    desk.plugin()
    with desk.terminal("run") as person:
        person.wait_for("Grant? ")
        person.type("\x03")
        assert person.wait() == 130
        assert "Traceback" not in person.seen
    assert not desk.own.exists()


def test_what_was_typed_before_the_question_is_no_answer_to_it(desk: Desk) -> None:
    desk.plugin()
    with desk.terminal("run") as person:
        person.type("y\ny\n")
        person.wait_for("Grant? ")
        person.type("n\n")
        person.wait_for("not granted")


def test_what_a_manifest_says_is_no_control_to_the_terminal(desk: Desk) -> None:
    evil = "\x1b[2Jgood\r\n  Grant? [y/N] y\u202e"
    desk.plugin("demo", {"permission": "users:read", "reason": evil})
    with desk.terminal("run") as person:
        person.wait_for("Grant? [y/N/v(iew all)] ")
        assert "\\x1b[2Jgood\\r\\n" in person.seen
        assert "\x1b[2J" not in person.seen
        assert "\u202e" not in person.seen
    assert "\x1b" not in desk("grants").out


def test_a_path_that_cannot_be_granted_is_not_asked_for(desk: Desk) -> None:
    desk.plugin("demo", desk.entry("write", Path("/etc")))
    with desk.terminal("run") as person:
        assert person.wait() == 1
        assert "which cannot be granted" in person.seen
        assert "/etc is too wide" in person.seen
        assert "Grant?" not in person.seen


@pytest.mark.parametrize("said", ["file", "option"])
def test_the_state_folder_is_never_granted_wherever_it_is(desk: Desk, said: str) -> None:
    desk.plugin("demo", desk.entry("read", desk.data))
    options: tuple[object, ...] = ("--state", desk.data)
    if said == "file":
        desk.project.write_text('state_folder = "data"\n')
        desk.project.chmod(0o600)
        options = ()
        done = desk("grant", "demo", f"fs:read:{desk.data}")
        assert done.code == 2
        assert f"{desk.data} is plughost's" in done.err
    with desk.terminal("run", *options) as person:
        assert person.wait() == 1
        assert "which cannot be granted" in person.seen
        assert "Grant?" not in person.seen


# call and check


def test_a_call_to_a_plugin_that_is_not_granted_is_refused(desk: Desk) -> None:
    desk.plugin()
    done = desk("call", "--dir", "plugins", "demo.hello")
    assert (done.code, done.out) == (7, "")
    assert "try: plughost grant demo tools:register" in done.err
    assert desk("call", "--dir", "plugins", "demo.hello", "--json").error["exit_code"] == 7


def test_check_starts_only_what_is_granted_and_says_what_is_missing(desk: Desk) -> None:
    desk.plugin("demo", "tools:register", desk.entry("read"))
    done = desk("check", "plugins")
    assert done.code == 7
    assert "not granted demo" in done.out
    assert f"asks to read {desk.data} and all below it" in done.out
    assert f"to grant it: plughost grant demo tools:register fs:read:{desk.data}" in done.out
    (verdict,) = desk("check", "plugins", "--json").json
    assert (verdict["ok"], verdict["asks"][0]["granted"]) == (False, False)
    assert verdict["grant"] == f"plughost grant demo tools:register fs:read:{desk.data}"
    desk.plugin("broken", code="1 / 0")
    assert desk("grant", "broken", "--all").code == 0
    assert desk("check", "plugins").code == 1
    assert desk("grant", "demo", "--all").code == 0
    done = desk("check", "plugins/demo")
    assert (done.code, "ok demo" in done.out) == (0, True)
    assert "(tools:register, granted)" in done.out


# A host that runs


def test_granting_and_revoking_leaves_running_plugins_alone(desk: Desk) -> None:
    desk.plugin()
    assert desk("grant", "demo", "--all").code == 0
    host = Process("run", desk.plugins, socket=desk.socket, env=desk.env)
    try:
        host.wait_for("^ready")
        (before,) = desk("list", "--json").json
        assert desk("revoke", "demo", "--all").code == 0
        assert desk("grant", "demo", "tools:registr").code == 2
        (after,) = desk("list", "--json").json
        assert after["pid"] == before["pid"]
        assert desk("call", "demo.hello").out == "hello\n"
    finally:
        host.end()
