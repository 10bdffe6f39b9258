"""The commands that act on the plugins of a running host."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cli_runner import Process, plughost, running_host, terminal
from .swap_plugins import Versions


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, Versions]:
    """One that another one needs."""
    made = {"base": Versions(tmp_path / "plugins", "base")}
    made["user"] = Versions(tmp_path / "plugins", "user", dependencies=["base"])
    for versions in made.values():
        versions.write(1)
    return made


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "control"


@pytest.fixture
def host(plugins: dict[str, Versions], tmp_path: Path, socket: Path) -> Iterator[Process]:
    with running_host(tmp_path / "plugins", socket=socket) as process:
        yield process


def test_a_plugin_is_reloaded_and_what_does_not_load_changes_nothing(
    plugins: dict[str, Versions], host: Process, socket: Path
) -> None:
    plugins["base"].write(2)
    done = plughost("reload", "base", socket=socket)
    assert (done.code, done.out) == (0, "base 2.0.0 active\n")
    plugins["base"].write(3, "raise ValueError('no such luck')")
    failed = plughost("reload", "base", "user", "--json", socket=socket)
    assert failed.code == 3
    base, user = failed.json
    assert (base["done"], base["state"], base["version"]) == (False, "active", "2.0.0")
    assert "no such luck" in base["error"]
    assert user["done"]
    assert "not reloaded: version 3.0.0" in plughost("list", socket=socket).out
    assert plughost("call", "base.version", "number=1", socket=socket).code == 0
    host.wait_for("not reloaded, version 3.0.0")


@pytest.mark.parametrize(
    ("columns", "missing"),
    [(100, ""), (60, "pid, uptime, cpu"), (20, "pid, uptime, restarts, cpu")],
)
def test_the_list_fits_a_narrow_terminal_and_says_what_is_missing(
    host: Process, socket: Path, columns: int, missing: str
) -> None:
    with terminal("list", socket=socket, env={"COLUMNS": str(columns)}) as shown:
        assert shown.wait() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.seen).splitlines()
    titles, row = lines[0].rstrip(), lines[2]
    assert titles.split()[:3] == ["id", "version", "state"]
    assert row.split()[:3] == ["base", "1.0.0", "active"]
    assert not set(titles.split()) & set(missing.split(", "))
    assert len(titles.split()) + len(missing.split()) == 10
    told = f"too narrow for {missing}: --json has them"
    assert (told in lines) == bool(missing)
    assert "calls  errors" in titles
    assert columns == 20 or len(titles) <= columns


def test_errors_say_what_to_type_next(
    plugins: dict[str, Versions], host: Process, socket: Path, tmp_path: Path
) -> None:
    for words in (("unload", "bse"), ("health", "bse"), ("tools", "bse"), ("canary", "bse")):
        done = plughost(*words, socket=socket)
        assert done.code == 4
        assert done.err.endswith("try: plughost list, for all plugins that there are\n"), words
    assert "try: plughost tools" in plughost("call", "base.none", socket=socket).err
    plugins["base"].write(3, "raise ValueError('no such luck')")
    failed = plughost("reload", "base", socket=socket)
    assert "try: add --debug before the command, for the plugin's traceback" in failed.err
    assert "Traceback" not in failed.err
    assert "Traceback" in plughost("--debug", "reload", "base", socket=socket).err
    for typed, told in (
        ("enable base", "plugin 'base' is active, not disabled"),
        ("disable user", ""),
        ("disable user", "plugin 'user' is disabled already"),
        ("unload user", ""),
        ("enable user", "plugin 'user' is unloaded: load it instead"),
        ("load user", ""),
    ):
        assert told in plughost(*typed.split(), socket=socket).err
    assert "stopped by the host" not in plughost("list", socket=socket).out
    Versions(tmp_path, "needy", dependencies=["nobody"]).write(1)
    failed = plughost("load", "./needy", socket=socket, cwd=tmp_path)
    assert failed.code == 3
    assert "nobody" in failed.err
    assert failed.err.endswith("try: mend that, then the same again\n")


def test_what_others_need_is_unloaded_with_cascade(host: Process, socket: Path) -> None:
    refused = plughost("unload", "base", socket=socket)
    assert refused.code == 1
    assert "is needed by user" in refused.err
    assert "--cascade" in refused.err
    done = plughost("unload", "base", "--cascade", socket=socket)
    assert done.out == "user 1.0.0 unloaded\nbase 1.0.0 unloaded\n"
    loaded = plughost("load", "--all", socket=socket)
    assert loaded.out == "base 1.0.0 active\nuser 1.0.0 active\n"


def test_a_person_is_asked_whether_to_take_others_along(host: Process, socket: Path) -> None:
    with terminal("unload", "base", socket=socket) as person:
        person.wait_for("Unload them, too? [y/N] ")
        person.type("n\n")
        assert person.wait() == 1
    with terminal("unload", "base", socket=socket) as person:
        person.wait_for("Unload them, too? [y/N] ")
        person.type("y\n")
        assert person.wait() == 0
    assert {p["state"] for p in plughost("list", "--json", socket=socket).json} == {"unloaded"}


def test_a_new_folder_is_loaded_and_plugins_are_disabled_and_enabled(
    host: Process, socket: Path, tmp_path: Path
) -> None:
    Versions(tmp_path, "late").write(1)
    done = plughost("load", "./late", socket=socket, cwd=tmp_path)
    assert (done.code, done.out) == (0, "late 1.0.0 active\n")
    assert plughost("disable", "late", "user", socket=socket).code == 0
    assert plughost("call", "late.version", "number=1", socket=socket).code == 3
    assert plughost("enable", "--all", socket=socket).out.count("active") == 2
    assert plughost("enable", "--all", socket=socket).out == "there is nothing to enable\n"


def test_grants_are_read_again_before_a_plugin_is_loaded(tmp_path: Path, socket: Path) -> None:
    Versions(tmp_path / "plugins", "fixed").write(1)
    grants = tmp_path / "grants.toml"
    grants.write_text('[grants]\nfixed = ["tools:register"]\n')
    grants.chmod(0o600)
    versions = Versions(tmp_path, "late")
    versions.write(1)
    with running_host(tmp_path / "plugins", "--file", grants, socket=socket):
        refused = plughost("load", "./late", socket=socket, cwd=tmp_path)
        assert refused.code == 3
        assert "tools:register" in refused.err
        assert (
            plughost("grant", "late", "--all", "--dir", versions.root, "--file", grants).code == 0
        )
        assert plughost("load", "late", socket=socket).code == 0


def test_plugins_that_sleep_are_listed_called_and_activated(tmp_path: Path, socket: Path) -> None:
    for name, activation in (("calm", "tool"), ("ready", "command:report")):
        Versions(tmp_path / "plugins", name, activation=[activation]).write(1)
    with running_host(tmp_path / "plugins", "--state", tmp_path, socket=socket):
        assert plughost("call", "calm.version", "number=1", socket=socket).code == 0
        assert plughost("activate", "report", socket=socket).out == "ready active\n"
        assert plughost("activate", "nothing", "--json", socket=socket).json == []
    with running_host(tmp_path / "plugins", "--state", tmp_path, socket=socket):
        listed = plughost("list", "--json", socket=socket)
        assert listed.code == 0
        assert {(p["id"], p["state"], p["pid"]) for p in listed.json} == {
            ("calm", "sleeping", None),
            ("ready", "sleeping", None),
        }
        names = [tool["name"] for tool in plughost("tools", "--json", socket=socket).json]
        assert names == ["calm.version", "ready.version"]
        assert plughost("disable", "--all", socket=socket).out == (
            "ready 1.0.0 disabled\ncalm 1.0.0 disabled\n"
        )


def test_wrong_usage_is_told(host: Process, socket: Path) -> None:
    assert plughost("reload", socket=socket).code == 2
    assert plughost("reload", "base", "--all", socket=socket).code == 2
    assert plughost("reload", "base", "--deadline", "0", socket=socket).code == 2
    assert plughost("reload", "bsae", socket=socket).code == 4
    assert plughost("load", "base", socket=socket).code == 1


def test_the_health_of_plugins_is_shown_with_its_reasons(
    host: Process, socket: Path, tmp_path: Path
) -> None:
    well = plughost("health", socket=socket)
    assert (well.code, well.out.count("healthy")) == (0, 2)
    says = "from plughost_sdk import Plugin\nplugin = Plugin()\n"
    says += "@plugin.health\ndef it() -> str:\n    return 'degraded: the queue is long'\n"
    Versions(tmp_path, "slow").write(1, says)
    assert plughost("load", "./slow", socket=socket, cwd=tmp_path).code == 0
    slow = plughost("health", "slow", socket=socket)
    assert slow.code == 1
    assert "degraded" in slow.out
    assert "the queue is long" in slow.out
    assert [h["status"] for h in plughost("health", "--json", socket=socket).json] == [
        "healthy",
        "degraded",
        "healthy",
    ]
    assert plughost("health", "nobody", socket=socket).code == 4
