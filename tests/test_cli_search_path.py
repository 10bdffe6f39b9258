"""The command without a folder: what it finds, what it hides, and how it names mistakes."""

from pathlib import Path

import pytest

from .cli_runner import plughost, running_host, write_plugin

CODE = """
from plughost_sdk import Plugin
plugin = Plugin()

@plugin.tool
async def where() -> str:
    return __file__
"""
SINGLE = """# /// plughost
# id = "single"
# name = "Single"
# version = "1.0.0"
# permissions = ["tools:register"]
# ///
"""


class Desk:
    """A folder to work in, with a home of its own."""

    def __init__(self, root: Path) -> None:
        self.here = root / "here"
        self.local = self.here / "plugins"
        self.local.mkdir(parents=True)
        self.user = root / "data" / "plughost" / "plugins"
        self.user.mkdir(parents=True)
        self.env = {"XDG_DATA_HOME": str(root / "data"), "XDG_DATA_DIRS": str(root / "system")}
        self.socket = root / "s"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_run_and_list_say_which_plugins_are_hidden(desk: Desk) -> None:
    write_plugin(desk.user, "tool", CODE)
    hidden = write_plugin(desk.local, "tool", CODE)
    write_plugin(desk.local, "other", CODE)
    with running_host(socket=desk.socket, cwd=desk.here, env=desk.env) as host:
        assert f"tool: hides {hidden}" in host.output
        shown = plughost("list", socket=desk.socket)
        assert (shown.code, f"tool: hides {hidden}" in shown.out) == (0, True)
        statuses = {
            each["id"]: each for each in plughost("list", "--json", socket=desk.socket).json
        }
        called = plughost("call", "tool.where", socket=desk.socket).out
    assert statuses["tool"]["hides"] == [str(hidden)]
    assert statuses["tool"]["path"] == str(desk.user / "tool")
    assert statuses["other"]["hides"] == []
    assert called == f"{desk.user / 'tool' / 'plugin.py'}\n"


def test_the_variable_comes_first_and_a_folder_that_is_named_is_all(desk: Desk) -> None:
    write_plugin(desk.user, "tool", CODE)
    (desk.here / "dev").mkdir()
    dev = write_plugin(desk.here / "dev", "tool", CODE)
    env = desk.env | {"PLUGHOST_PLUGIN_PATH": "dev"}
    told = plughost("show", "tool", "--json", cwd=desk.here, env=env).json
    assert str(dev) in told["reads"]
    told = plughost("show", "tool", "--dir", desk.user, "--json", cwd=desk.here, env=env).json
    assert str(desk.user / "tool") in told["reads"]


def test_where_nothing_is_the_places_are_named(desk: Desk) -> None:
    done = plughost("run", cwd=desk.here, env=desk.env, socket=desk.socket)
    assert done.code == 2
    for place in (desk.user, "./plugins", "./src/plugins", "system", "installed packages"):
        assert str(place) in done.err


def test_check_without_a_folder_looks_where_run_does(desk: Desk) -> None:
    done = plughost("check", cwd=desk.here, env=desk.env)
    assert (done.code, "./src/plugins" in done.err) == (2, True)
    tool = write_plugin(desk.user, "tool", CODE)
    (desk.local / "broken").mkdir()
    (desk.local / "broken" / "manifest.json").write_text("{")
    done = plughost("check", cwd=desk.here, env=desk.env)
    assert done.code == 1
    assert f"ok tool  {tool}" in done.out
    assert "failed broken" in done.out
    (desk.here / "mine").mkdir()
    write_plugin(desk.here / "mine", "own", CODE)
    config = desk.here / "conf.toml"
    config.write_text('folders = ["mine"]\n[grants]\n"*" = ["*"]\n')
    config.chmod(0o600)
    checked = plughost("check", "--json", "--file", config, cwd=desk.here, env=desk.env).json
    assert [(verdict["id"], verdict["ok"]) for verdict in checked] == [("own", True)]


def test_a_plugin_on_the_search_path_is_granted_without_its_folder(
    desk: Desk, tmp_path: Path
) -> None:
    env = desk.env | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    write_plugin(desk.user, "tool", CODE)
    refused = plughost("run", cwd=desk.here, env=env, socket=desk.socket)
    assert refused.code == 7
    assert "plughost grant tool tools:register\n" in refused.err
    granted = plughost("grant", "tool", "--all", cwd=desk.here, env=env)
    assert granted.code == 0, granted.err
    with running_host(socket=desk.socket, cwd=desk.here, env=env):
        assert plughost("list", socket=desk.socket).code == 0


def test_a_plugin_of_one_file_runs_and_only_the_file_is_shown_to_it(desk: Desk) -> None:
    file = desk.local / "single.py"
    file.write_text(SINGLE + CODE)
    write_plugin(desk.local, "other", CODE)
    done = plughost("call", "--dir", file, "single.where", cwd=desk.here, env=desk.env)
    assert (done.code, done.out) == (0, f"{file}\n"), done.err
    reads = plughost("show", "single", "--json", cwd=desk.here, env=desk.env).json["reads"]
    assert str(file) in reads
    assert not {str(desk.local), str(desk.local / "other")} & set(reads)
    check = plughost("check", file, cwd=desk.here, env=desk.env)
    assert (check.code, f"single  {file}" in check.out) == (0, True), check.out


def test_check_names_file_line_and_column_of_every_problem(desk: Desk) -> None:
    root = write_plugin(desk.local, "odd", CODE)
    file = root / "manifest.json"
    file.write_text('{\n  "id": "odd",\n  "version": "one",\n  "permissions": ["fly:high", 5]\n}\n')
    done = plughost("check", desk.local, env=desk.env)
    assert done.code == 1
    assert f"  {file}:3:14: version: 'one' is none" in done.out
    assert f"  {file}:4:31: permissions[1]: Expected" in done.out
    assert "fly:high" not in done.out  # a list is read as a whole
    assert f"  {file}:1:1: name: is missing" in done.out
    (verdict,) = plughost("check", desk.local, "--json", env=desk.env).json
    marks = [(mark["file"], mark["line"], mark["column"]) for mark in verdict["marks"]]
    assert marks == [(str(file), 1, 1), (str(file), 3, 14), (str(file), 4, 31)]


def test_check_names_a_manifest_that_is_not_read(desk: Desk) -> None:
    root = write_plugin(desk.local, "tool", CODE)
    (root / "pyproject.toml").write_text("[tool.plughost]\n")
    done = plughost("check", root, env=desk.env)
    assert (done.code, "pyproject.toml holds a manifest, too, which is not read" in done.out) == (
        0,
        True,
    )


def test_check_says_what_a_dependency_lacks(desk: Desk) -> None:
    write_plugin(desk.local, "base", CODE, version="1.4.0")
    write_plugin(desk.local, "user", CODE, dependencies=["base>=2"])
    done = plughost("check", desk.local, env=desk.env)
    assert done.code == 1
    assert "it needs base>=2, and 1.4.0 is there" in done.out


def test_a_project_that_is_a_plugin_grants_itself_nothing(desk: Desk, tmp_path: Path) -> None:
    (desk.here / "pyproject.toml").write_text(
        '[project]\nname = "tool"\nversion = "1.0.0"\n'
        '[tool.plughost]\npermissions = ["tools:register"]\n'
    )
    (desk.here / "plugin.py").write_text(CODE)
    grants = desk.here / "plughost.toml"
    grants.write_text('[grants]\ntool = ["tools:register"]\n')
    grants.chmod(0o600)
    env = desk.env | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    done = plughost("run", desk.here, cwd=desk.here, env=env, socket=desk.socket)
    assert done.code == 7
    assert "a plugin grants itself nothing" in done.err
