"""`plughost config` and `plughost configure`, and what the commands take from the configuration."""

import signal
from pathlib import Path
from typing import Any

import pytest

from .cli_runner import Finished, Process, plughost, running_host, write_plugin

CODE = """
from plughost_sdk import Plugin, tool

class Demo(Plugin):
    async def on_configure(self, config):
        pass

    @tool
    def seen(self) -> dict:
        import resource
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return {"config": dict(self.api.config), "files": files}
"""

SCHEMA = {"days": {"type": "integer", "default": 3, "max": 9}, "city": {"type": "string"}}


class Desk:
    """A folder that a person works in, with files of the system, of the user and of the project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "plughost.toml"
        self.user = folder / "user" / "plughost" / "plughost.toml"
        self.system = folder / "system" / "plughost" / "plughost.toml"
        for file in (self.user, self.system):
            file.parent.mkdir(parents=True)
        self.env = {
            "XDG_CONFIG_HOME": str(folder / "user"),
            "XDG_CONFIG_DIRS": str(folder / "system"),
        }

    def write(self, file: Path, text: str) -> None:
        file.write_text(text)
        file.chmod(0o600)

    def __call__(self, *arguments: object, **variables: str) -> Finished:
        return plughost(*arguments, cwd=self.folder, env=self.env | variables)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_show_says_where_each_value_comes_from(desk: Desk) -> None:
    desk.write(desk.system, "[limits]\nmemory = '90MB'\ncpu = 2\nthreads = 4\n")
    desk.write(desk.user, "# mine\n[limits]\nmemory = '100MB'\ncpu = 3\n")
    desk.write(desk.project, "[limits]\nmemory = '200MB'\n[grants]\na = ['users:read']\n")
    done = desk("config", "show", "--origin", PLUGHOST_LIMITS__GRACE="5s")
    assert done.out.splitlines() == [
        'grants.a = ["users:read"]  # plughost.toml:4',
        f"limits.cpu = 3.0  # {desk.user}:4",
        "limits.grace = 5.0  # PLUGHOST_LIMITS__GRACE",
        'limits.memory = "200 MB"  # plughost.toml:2',
        f"limits.threads = 4  # {desk.system}:4",
    ]
    told = desk("config", "show", "limits.memory", "--json").json
    place = {"level": "file", "name": "plughost.toml", "line": 2, "column": 1}
    assert told == [{"key": "limits.memory", "value": 200_000_000, "origin": place}]
    everything = desk("config", "show", "limits", "--all", "--origin").out
    assert "limits.open_files = 256  # default\n" in everything
    assert desk("config", "show", "totals").out.startswith("all is as by default")
    assert desk("config", "get", "limits.memory").out == '"200 MB"\n'
    assert desk("config", "get", "limits.log_level").out == "info\n"
    assert desk("config", "get", "limits").code == 4
    wrong = desk("config", "get", "limits.memroy")
    assert (wrong.code, "did you mean 'memory'" in wrong.err) == (4, True)


def test_a_secret_is_shown_by_its_source_and_an_address_without_its_password(desk: Desk) -> None:
    token = desk.folder / "token"
    token.write_text("hush-hush")
    token.chmod(0o600)
    desk.write(
        desk.project,
        "[storage]\nurl = 'redis://me:hush-hush@host/1'\n"
        "[plugins.a]\nsecrets.s = {file = 'token', hosts = ['x.com']}\n"
        "secrets.t = {env = 'TOKEN', hosts = ['x.com']}\nconfig.key.secret.env = 'TOKEN'\n",
    )
    for extra in ([], ["--json"], ["--all"]):
        done = desk("config", "show", *extra, TOKEN="hush-hush")
        assert "hush-hush" not in done.out + done.err
    shown = desk("config", "show").out
    assert f"plugins.a.secrets.s = <secret: the file {token}, for x.com>\n" in shown
    assert "plugins.a.config.key = <secret: the variable TOKEN>\n" in shown
    assert 'storage.url = "redis://me:***@host/1"\n' in shown
    assert "hush-hush" not in desk("config", "get", "storage.url").out


def test_check_names_every_mistake_of_every_file(desk: Desk) -> None:
    assert desk("config", "check").out == "ok (no file)\n"
    desk.write(desk.system, "[limits]\nmemory = \n")
    desk.write(desk.user, "[limits]\nmemroy = 1\nthreads = 'x'\n")
    desk.write(desk.project, "[sandbox]\nwithout = ['all']\n")
    done = desk("config", "check", PLUGHOST_LIMITS__CPU="much")
    assert done.code == 1
    lines = done.out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"error: {desk.system}:2:10: is not TOML")
    assert lines[1].startswith(f"error: {desk.user}:2:1: limits.memroy: there is no such")
    assert lines[2].startswith(f"error: {desk.user}:3:11: limits.threads: must be an integer")
    assert lines[3].startswith("error: plughost.toml:2:11: sandbox.without: is one of")
    assert lines[4].startswith("error: PLUGHOST_LIMITS__CPU: 'much' is no share")
    told = desk("config", "check", "--json").json
    assert told["problems"][0]["line"] == 2
    refused = desk("run")
    assert (refused.code, f"{desk.system}:2:10" in refused.err) == (1, True)


def test_check_sees_a_secret_that_could_not_be_sent_without_reading_it(desk: Desk) -> None:
    desk.write(
        desk.project,
        "[plugins.a]\nprivate_hosts = ['db']\n"
        "secrets.fine = {file = 'none', hosts = ['db', '*.example.com:8443']}\n"
        "secrets.s = {env = 'NOT_SET', hosts = ['https://api.example.com']}\n",
    )
    done = desk("config", "check")
    assert done.out.startswith("error: plughost.toml:4:1: plugins.a.secrets.s: 'https://api"), done
    assert len(done.out.splitlines()) == 1


def test_set_keeps_comments_and_writes_nothing_that_cannot_be(desk: Desk) -> None:
    text = "# my own\ncall_depth = 4 # deep\n\n[limits] # of all\nmemory = '100MB'\n"
    desk.write(desk.project, text)
    assert desk("config", "set", "limits.threads", "8").code == 0
    assert desk("config", "set", "restarts_at_once", "3").code == 0
    assert desk("config", "set", "plugins.my-own.config.city", "Oslo").code == 0
    assert desk("config", "set", "plugins.my-own.limits.memory", "64 MiB").code == 0
    written = desk.project.read_text()
    for line in ("# my own\n", "call_depth = 4 # deep\n", "[limits] # of all\n", "threads = 8\n"):
        assert line in written
    assert desk("config", "get", "plugins.my-own.config.city").out == "Oslo\n"
    assert desk("config", "get", "plugins.my-own.limits.memory").out == '"64 MiB"\n'
    assert desk("config", "get", "restarts_at_once").out == "3\n"
    for key, value, told in (
        ("limits.memory", "1MB", "needs 32"),
        ("limits.memory", "lots", "no size"),
        ("limits.threads", "x", "must be an integer"),
        ("http.timeout", "90", "over its own max_timeout"),
        ("limits", "1", "is a table"),
        ("limits.memroy", "1", "did you mean 'memory'"),
        ("grants.a", "users:read", "plughost grant"),
    ):
        done = desk("config", "set", key, value)
        assert (done.code in (2, 4), told in done.err) == (True, True), done
    assert desk.project.read_text() == written
    assert desk("config", "unset", "limits.threads").code == 0
    assert "threads" not in desk.project.read_text()
    assert desk("config", "unset", "limits.threads").code == 4
    desk.project.unlink()
    assert desk("config", "set", "limits.threads", "9", "--json").json["file"] == str(desk.user)
    assert "threads = 9" in desk.user.read_text()


def test_a_switch_is_set_as_a_whole_and_by_its_parts(desk: Desk) -> None:
    desk.write(desk.project, "# mine\nhot_reload = true  # for now\ncall_depth = 4\n")
    assert desk("config", "get", "hot_reload.enabled").out == "true\n"
    assert desk("config", "set", "hot_reload.debounce", "1s").code == 0
    assert desk("config", "set", "hot_reload", "off").code == 0
    assert 'hot_reload = {enabled = false, debounce = "1s"}' in desk.project.read_text()
    assert "call_depth = 4" in desk.project.read_text()
    assert desk("config", "check").code == 0
    assert desk("config", "unset", "hot_reload").code == 0
    assert desk("config", "set", "hot_reload", "true").code == 0
    shown = desk("config", "show", "hot_reload")
    assert shown.out == "hot_reload.enabled = true\n"
    assert desk("config", "set", "hot_reload", "perhaps").code == 2


def test_commands_use_the_configuration_and_their_options_win(desk: Desk) -> None:
    (desk.folder / "plugins").mkdir()
    write_plugin(desk.folder / "plugins", "demo", CODE, config_schema=SCHEMA)
    desk.write(
        desk.project,
        "[limits]\nopen_files = 100\nmemory = '90MB'\n[grants]\ndemo = ['tools:register']\n"
        "[plugins.demo]\nconfig.city = 'Oslo'\nlimits.open_files = 80\nlimits.memory = '80MB'\n",
    )
    seen = desk("call", "demo.seen", "--dir", "plugins").json
    assert seen == {"config": {"city": "Oslo", "days": 3}, "files": 80}
    more = {"PLUGHOST_PLUGINS__DEMO__CONFIG__DAYS": "4"}
    assert desk("call", "demo.seen", "--dir", "plugins", **more).json["config"]["days"] == 4
    shown = desk("show", "demo", "--json").json
    assert shown["limits"]["memory"] == 80_000_000
    without = desk("show", "demo", "--without", "landlock", "--json").json
    assert without["waived"] == ["landlock"]
    assert desk("check", "plugins").code == 0
    desk.write(desk.user, "[sandbox]\nwithout = ['landlock']\n")
    warned = desk("check", "plugins")
    assert (warned.code, "warning: the sandbox is without landlock" in warned.err) == (0, True)


def test_run_takes_folders_and_the_socket_from_the_configuration(desk: Desk) -> None:
    (desk.folder / "mine").mkdir()
    write_plugin(desk.folder / "mine", "demo", CODE)
    socket = desk.folder / "s"
    text = "folders = ['mine']\nsocket = 's'\n[limits]\nopen_files = 99\n[grants]\ndemo = ['*']\n"
    desk.write(desk.project, text + "[plugins.demo.limits]\nmemory = '80MB'\n")
    where = {"PLUGHOST_FOLDERS": str(desk.folder / "mine"), "PLUGHOST_LIMITS__THREADS": "3"}
    host = Process("run", "--file", desk.project, "--memory", "90MB", env=desk.env | where)
    try:
        host.wait_for("^ready")
        assert socket.is_socket()
        seen = desk("call", "demo.seen").json
        assert seen["files"] == 99
        assert desk("list", "--json").json[0]["id"] == "demo"
        host.send(signal.SIGTERM)
        assert host.wait() == 0
    finally:
        host.end()


def test_users_are_kept_in_the_state_folder_that_is_configured(desk: Desk) -> None:
    desk.write(desk.project, "state_folder = 'state'\n")
    assert desk("users", "add", "ada").code == 0
    assert list((desk.folder / "state").iterdir())


def test_run_keeps_the_state_in_the_folder_that_is_named(desk: Desk) -> None:
    (desk.folder / "plugins").mkdir()
    write_plugin(desk.folder / "plugins", "demo", CODE)
    desk.write(desk.user, "state_folder = 'other'\n[grants]\ndemo = ['*']\n")
    socket = desk.folder / "s"
    with running_host("plugins", "--state", "kept", socket=socket, cwd=desk.folder, env=desk.env):
        assert (desk.folder / "kept" / "data" / "demo").is_dir()
    assert not (desk.folder / "other").exists()
    (desk.folder / "taken").write_text("")
    done = desk("run", "plugins", "--state", "taken", "--socket", socket)
    assert (done.code, "taken" in done.err) == (1, True), done


def test_a_file_among_the_plugins_that_it_names_is_not_believed(desk: Desk) -> None:
    write_plugin(desk.folder, "demo", CODE)
    desk.write(desk.project, "folders = ['.']\n[grants]\ndemo = ['*']\n")
    done = desk("run")
    assert (done.code, "a plugin grants itself nothing" in done.err) == (1, True)


# configure


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    write_plugin(folder, "demo", CODE, config_schema=SCHEMA)
    plain = CODE.replace("async def on_configure", "async def something_else")
    write_plugin(folder, "plain", plain, config_schema=SCHEMA)
    return folder


def config_of(plugin: str, socket: Path) -> Any:
    return plughost("call", f"{plugin}.seen", socket=socket).json["config"]


def test_configure_gives_a_plugin_of_the_running_host_new_values(
    plugins: Path, tmp_path: Path
) -> None:
    socket = tmp_path / "s"
    with running_host(plugins, socket=socket):
        done = plughost("configure", "demo", "days=5", "city=7", socket=socket)
        assert (done.code, done.out) == (0, "demo taken: its on_configure has the values\n")
        assert config_of("demo", socket) == {"days": 5, "city": "7"}
        done = plughost("configure", "plain", "days:=6", "--json", socket=socket)
        assert done.json == {"plain": "restarted"}
        assert config_of("plain", socket) == {"days": 6}
        assert plughost("configure", "demo", "--replace", socket=socket).code == 0
        assert config_of("demo", socket) == {"days": 3}


def test_configure_gives_several_plugins_their_values_or_none(
    plugins: Path, tmp_path: Path
) -> None:
    socket = tmp_path / "s"
    both = '{"demo": {"days": 1}, "plain": {"days": %d}}'
    with running_host(plugins, socket=socket):
        wrong = plughost("configure", "--values", both % 10, socket=socket)
        assert (wrong.code, "plugin 'plain': $.days must be at most 9" in wrong.err) == (2, True)
        assert config_of("demo", socket) == {"days": 3}
        assert plughost("configure", "--values", both % 2, socket=socket).code == 0
        assert config_of("plain", socket) == {"days": 2}


def test_configure_keeps_values_in_the_file_once_the_host_has_taken_them(desk: Desk) -> None:
    (desk.folder / "plugins").mkdir()
    write_plugin(desk.folder / "plugins", "demo", CODE, config_schema=SCHEMA)
    grants = "[grants]\n'*' = ['*']\n"
    desk.write(desk.project, f"# mine\n{grants}[plugins.demo.config]\ncity = 'Oslo' # home\n")
    socket = desk.folder / "s"

    def configure(*arguments: object) -> Finished:
        return desk("configure", *arguments, "--socket", socket)

    with running_host("plugins", socket=socket, cwd=desk.folder, env=desk.env):
        before = desk.project.read_text()
        refused = configure("demo", "days=10", "city=Rom", "--save")
        assert (refused.code, desk.project.read_text()) == (2, before)
        assert configure("demo", "days=4").code == 0
        assert desk.project.read_text() == before
        done = configure("demo", "days=5", "--save")
        assert (done.code, "kept in plughost.toml" in done.out) == (0, True), done.err
        assert desk.project.read_text() == before + "days = 5\n"
        assert configure("demo", "days=6", "--save", "--file", "own.toml").code == 0
        assert "[plugins.demo.config]\ndays = 6\n" in (desk.folder / "own.toml").read_text()
        assert configure("demo", "days=6", "--file", "own.toml").code == 2
    with running_host("plugins", socket=socket, cwd=desk.folder, env=desk.env):
        assert config_of("demo", socket) == {"days": 5, "city": "Oslo"}
        assert configure("demo", "days=7", "--replace", "--save").code == 0
        assert desk("config", "get", "plugins.demo.config.days").out == "7\n"
        assert desk("config", "get", "plugins.demo.config.city").code == 4
    assert desk.project.read_text().startswith(f"# mine\n{grants}")


def test_configure_writes_no_secret_and_nothing_that_a_file_cannot_hold(desk: Desk) -> None:
    (desk.folder / "plugins").mkdir()
    write_plugin(desk.folder / "plugins", "demo", CODE)
    text = "[grants]\n'*' = ['*']\n[plugins.demo.config]\nkey.secret.env = 'TOKEN'\n"
    desk.write(desk.project, text)
    socket = desk.folder / "s"
    env = desk.env | {"TOKEN": "hush-hush"}
    place = '{"other": {"secret": {"env": "TOKEN"}}}'
    with running_host("plugins", socket=socket, cwd=desk.folder, env=env):
        for words, why in (
            (["key=geheim"], "comes from the variable TOKEN"),
            (["--values", '{"x": 1, "y": null}'], "TOML holds no null"),
            (["--values", place], "plughost config set plugins.demo.config.other"),
        ):
            done = desk("configure", "demo", *words, "--save", "--socket", socket)
            assert (done.code, why in done.err) == (2, True), done
            assert "geheim" not in done.err
        assert config_of("demo", socket) == {"key": "hush-hush"}
        assert desk("configure", "demo", "key=geheim", "--socket", socket).code == 0
        desk.project.chmod(0o666)  # anybody could write it: it is not to be believed any more
        done = desk("configure", "demo", "x=1", "--save", "--socket", socket)
        assert (done.code, "plughost.toml" in done.err) == (1, True)
        assert config_of("demo", socket) == {"key": "geheim"}
    assert desk.project.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["demo"], 2),
        (["dem", "x=1"], 4),
        (["--values", '{"demo": 3}'], 2),
        (["demo", "days=many"], 2),
    ],
)
def test_configure_refuses_what_names_no_values_and_no_plugin(
    plugins: Path, tmp_path: Path, arguments: list[str], code: int
) -> None:
    with running_host(plugins / "demo", socket=tmp_path / "s"):
        assert plughost("configure", *arguments, socket=tmp_path / "s").code == code
