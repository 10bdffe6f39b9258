"""Grants: what covers what, which paths never, their file, and what the host makes of them."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost import (
    GRANT_ALL_ASKED,
    ConfigError,
    Host,
    HostConfig,
    HostMisuse,
    PermissionDenied,
    StartFailed,
    State,
    ToolError,
    load_grants,
)
from plughost.catalog.asks import Ask
from plughost.catalog.granted_paths import check_granted_path, protected_paths
from plughost.catalog.manifest import read_manifest
from plughost.catalog.permissions import Permission
from plughost.policy.policy import Policy

from .conftest import MakePlugin

CODE = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.tool
    async def hello() -> str:
        return "hello"

    @plugin.tool
    async def relay(tool: str) -> object:
        return await plugin.api.call(tool, {})

    @plugin.tool
    async def asked() -> list:
        return plugin.api.manifest.permissions
"""


# What covers what


@pytest.mark.parametrize(
    ("grant", "asked"),
    [
        ("tools:execute", "tools:execute"),
        ("tools:execute", "tools:execute:text-tools.count"),
        ("tools:execute:text-tools.*", "tools:execute:text-tools.count"),
        ("tools:execute:text-tools.*", "tools:execute:text-tools.c*"),
        ("tools:execute:[ab]*", "tools:execute:a.b"),
        ("events:emit:session.*", "events:emit:session:created"),
        ("events:emit:session.*", "events:emit:session.*.done"),
        ("tools:execute:[ab]", "tools:execute:[ab]"),
        ("fs:read:/srv", "fs:read:/srv"),
        ("fs:read:/srv", "fs:read:/srv/data"),
        ("fs:write:/srv", "fs:read:/srv/data"),
        ("fs:read:~/notes", "fs:read:~/notes/today"),
        ("net:connect:*.example.com", "net:connect:api.example.com"),
        ("net:connect:*.example.com", "net:connect:*.api.example.com"),
        ("net:connect:api.example.com", "net:connect:api.example.com:443"),
        ("env:read:CITY", "env:read:CITY"),
    ],
)
def test_a_grant_covers_what_is_equal_or_narrower(grant: str, asked: str) -> None:
    assert Permission.parse(grant).includes(Permission.parse(asked))


@pytest.mark.parametrize(
    ("grant", "asked"),
    [
        ("tools:execute", "tools:register"),
        ("tools:execute:text-tools.count", "tools:execute"),
        ("tools:execute:text-tools.count", "tools:execute:text-tools.*"),
        ("tools:execute:a?", "tools:execute:a*"),
        ("events:subscribe:session.*", "events:subscribe:*"),
        ("events:subscribe:session.*", "events:subscribe:session"),
        ("tools:execute:*]", "tools:execute:[ab]"),
        ("tools:execute:[!x]", "tools:execute:*"),
        ("fs:read:/srv", "fs:write:/srv"),
        ("fs:read:/srv/data", "fs:read:/srv"),
        ("fs:read:/srv/data", "fs:read:/srv/database"),
        ("net:connect:api.example.com", "net:connect:*.example.com"),
        ("net:connect:*.example.com", "net:connect:example.com"),
        ("net:connect:api.example.com", "net:connect:api.example.com:8443"),
        ("net:connect:api.example.com:443", "net:connect:api.example.com"),
        ("env:read:CITY", "env:read:COUNTRY"),
    ],
)
def test_a_grant_does_not_cover_more_than_it_says(grant: str, asked: str) -> None:
    assert not Permission.parse(grant).includes(Permission.parse(asked))


PATTERNS = st.text("ab*?", min_size=1, max_size=5)


@given(PATTERNS, PATTERNS, st.text("ab", max_size=6))
def test_a_pattern_that_includes_another_matches_all_that_the_other_does(
    wide: str, narrow: str, value: str
) -> None:
    granted = Permission("tools:execute", wide)
    asked = Permission("tools:execute", narrow)
    if granted.includes(asked) and asked.covers("tools:execute", value):
        assert granted.covers("tools:execute", value)


def test_a_path_that_climbs_out_is_not_covered() -> None:
    srv = Permission.parse("fs:read:/srv")
    assert srv.covers("fs:read", "/srv/data")
    assert not srv.covers("fs:read", "/srv/../etc/shadow")
    assert not srv.covers("fs:write", "/srv/data")


# The policy


def policy(*asks: str | Ask, grants: dict[str, Sequence[str]] | None = None) -> Policy:
    made = [ask if isinstance(ask, Ask) else Ask(Permission.parse(ask)) for ask in asks]
    return Policy("demo", made, grants or {})


def test_by_default_nothing_is_granted() -> None:
    mine = policy("tools:register")
    assert not mine.granted
    assert mine.refusal() == (
        "it asks for tools:register, which is not granted: plughost grant demo tools:register"
    )


def test_what_is_effective_is_what_is_asked_for_and_granted() -> None:
    mine = policy(
        "tools:execute:a.*", "events:emit", grants={"demo": ["tools:execute", "users:read"]}
    )
    assert list(map(str, mine.granted)) == ["tools:execute:a.*"]
    assert mine.allows("tools:execute", "a.b")
    assert not mine.allows("tools:execute", "b.a")
    assert not mine.allows("users:read")


def test_the_star_stands_for_every_plugin_and_for_whatever_is_asked() -> None:
    assert policy("users:read", grants={"*": ["users:read"]}).allows("users:read")
    assert policy("users:read", grants={"demo": ["*"]}).allows("users:read")
    assert policy("users:read", grants=dict(GRANT_ALL_ASKED)).allows("users:read")
    assert not policy("users:read", grants=dict(GRANT_ALL_ASKED)).allows("memory:read")
    assert not policy("users:read", grants={"other": ["*"]}).allows("users:read")


def test_a_permission_denied_says_who_has_not_said_yes() -> None:
    optional = Ask(Permission.parse("tools:execute:other.*"), optional=True)
    mine = policy(optional)
    assert not mine.refusal()
    with pytest.raises(PermissionDenied, match="which is not granted") as caught:
        mine.check("tools:execute", "other.double")
    assert caught.value.asked
    assert caught.value.remedy == "plughost grant demo 'tools:execute:other.*'"
    with pytest.raises(PermissionDenied, match="its manifest does not ask for") as caught:
        mine.check("users:read")
    assert not caught.value.asked
    assert caught.value.permission == "users:read"


@pytest.mark.parametrize(
    "grants",
    [{"demo": "tools:register"}, {"demo": ["fly:high"]}, {"*": [7]}, {"demo": ["fs:read"]}],
)
def test_a_grant_that_is_no_permission_is_a_misuse(grants: Any) -> None:
    with pytest.raises(HostMisuse, match="grants"):
        policy("tools:register", grants=grants)


# Paths


def test_a_plain_folder_or_file_may_be_granted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert check_granted_path(str(tmp_path), forbidden=()) == tmp_path
    assert check_granted_path(str(tmp_path / "file"), forbidden=()) == tmp_path / "file"


def link(tmp_path: Path) -> Path:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    return tmp_path / "link"


def loop(tmp_path: Path) -> Path:
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path / "loop"


def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: Path("/"), "is too wide"),
        (lambda _: Path("/etc"), "is too wide"),
        (lambda _: Path("/proc/1"), "belongs to the kernel"),
        (lambda _: Path("/sys"), "belongs to the kernel"),
        (lambda _: Path("/dev/shm"), "belongs to the kernel"),
        (lambda _: Path("~/"), "is the operator's home folder"),
        (lambda folder: folder / "gone", "does not exist"),
        (link, "symbolic link to .*/real: name that path"),
        (lambda folder: link(folder) / "inner", "symbolic link to .*/real/inner"),
        (loop, "cannot be looked at"),
        (fifo, "neither a file nor a folder"),
    ],
)
def test_some_paths_are_never_granted(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    scope = str(make(tmp_path))
    with pytest.raises(ValueError, match=reason):
        check_granted_path("~/" if scope == "~" else scope, forbidden=())


def test_a_folder_around_the_operators_home_is_never_granted() -> None:
    with pytest.raises(ValueError, match=r"home|too wide"):
        check_granted_path(str(Path.home().resolve().parent), forbidden=())


def test_nothing_in_or_around_a_protected_path_is_granted(tmp_path: Path) -> None:
    (tmp_path / "plugins" / "demo" / "data").mkdir(parents=True)
    (tmp_path / "files").mkdir()
    protected = protected_paths([tmp_path / "plugins" / "demo"], tmp_path / "state")
    for path, reason in (
        (tmp_path, "holds"),
        (tmp_path / "plugins", "holds"),
        (tmp_path / "plugins" / "demo", "is"),
        (tmp_path / "plugins" / "demo" / "data", "lies in"),
    ):
        with pytest.raises(ValueError, match=f"{reason} .*a plugin's own"):
            check_granted_path(str(path), forbidden=protected)
    check_granted_path(str(tmp_path / "files"), forbidden=protected)


def test_the_hosts_own_code_python_and_grants_are_protected() -> None:
    import plughost

    protected = protected_paths([])
    for path in (
        Path(plughost.__file__).parent,
        Path(os.__file__).parent,
        Path(pytest.__file__).parent,
        Path("plughost.toml").absolute(),
    ):
        real = path.resolve()
        assert any(real.is_relative_to(place) for place in protected), path


# The file


def write_toml(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_grants_are_read_out_of_a_file(tmp_path: Path) -> None:
    path = write_toml(
        tmp_path / "plughost.toml",
        '[grants]\ndemo = ["tools:register", "fs:read:/srv"]\n"*" = ["users:read"]\n',
    )
    assert load_grants(path) == {
        "demo": ("tools:register", "fs:read:/srv"),
        "*": ("users:read",),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[grants]\ndemo = [\n", "plughost.toml:2:9: is not TOML"),
        ("[grants]\ndemo = 'x\n", "plughost.toml:2:10: is not TOML"),
        ("[grant]\n", ":1:1: grant: there is no such setting; did you mean 'grants'"),
        ("grants = 3\n", "must be a table"),
        ("[grants]\nDemo = []\n", ":2:1: grants.Demo: is no plugin's id"),
        ("[grants]\ndemo = 'tools:register'\n", "must be a list of texts"),
        ("[grants]\ndemo = [1]\n", "must be a list of texts"),
        (
            "[grants]\ndemo = ['users:read', 'fly:high']\n",
            r":2:23: grants.demo\[1\]: there is no",
        ),
        ("[grants]\ndemo = ['net:connect:*']\n", "too wide"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = write_toml(tmp_path / "plughost.toml", text)
    with pytest.raises(ConfigError, match=problem) as caught:
        load_grants(path)
    assert caught.value.path == path
    assert str(path) in str(caught.value)


def _make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.chmod(0o602), "can be written by others .mode 0602."),
        (lambda path: path.unlink(), "cannot be read: No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory|no regular file"),
        (_make_fifo, "no regular file"),
        (lambda path: path.write_bytes(b"\xff"), "is not UTF-8"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "longer than"),
        (lambda path: (path.parent / "manifest.json").touch(), "a plugin grants itself nothing"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_not_read(
    tmp_path: Path, spoil: Callable[[Path], object], problem: str
) -> None:
    path = write_toml(tmp_path / "plughost.toml", "[grants]\n")
    spoil(path)
    with pytest.raises(ConfigError, match=problem):
        load_grants(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_or_of_a_group_of_several_is_not_read(tmp_path: Path) -> None:
    path = write_toml(tmp_path / "plughost.toml", "[grants]\n")
    os.chown(path, 65534, -1)
    with pytest.raises(ConfigError, match="belongs to user 65534"):
        load_grants(path)
    os.chown(path, 0, 65534)
    path.chmod(0o660)
    with pytest.raises(ConfigError, match="can be written by others"):
        load_grants(path)


def test_a_link_in_a_plugins_folder_to_ones_own_file_and_the_other_way_round(
    tmp_path: Path,
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "manifest.json").touch()
    write_toml(tmp_path / "demo" / "plughost.toml", "[grants]\n")
    (tmp_path / "plughost.toml").symlink_to("demo/plughost.toml")
    with pytest.raises(ConfigError, match="lies in a plugin's folder"):
        load_grants(tmp_path / "plughost.toml")


# The host


@pytest.mark.anyio
async def test_a_plugin_that_is_not_granted_what_it_needs_does_not_start(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("other", CODE)
    folder = make_plugin("demo", CODE)
    async with Host([folder], HostConfig(grants={"other": ["tools:register"]})) as host:
        assert host.problems == {
            "demo": "it asks for tools:register, which is not granted: "
            "plughost grant demo tools:register"
        }
        demo = host.plugin("demo")
        assert (demo.state, demo.pid) == (State.ERROR, None)
        with pytest.raises(StartFailed, match="which is not granted"):
            await demo.start()
        assert await host.call("other.hello") == "hello"


@pytest.mark.anyio
async def test_a_plugin_runs_without_the_optional_permission_that_is_not_granted(
    make_plugin: MakePlugin,
) -> None:
    permissions = ["tools:register", {"permission": "tools:execute", "optional": True}]
    folder = make_plugin("demo", CODE, permissions=permissions)
    async with Host([folder], HostConfig(grants={"demo": ["tools:register"]})) as host:
        assert not host.problems
        assert await host.call("demo.asked") == ["tools:register", "tools:execute"]
        with pytest.raises(ToolError, match="not granted: plughost grant demo tools:execute"):
            await host.call("demo.relay", {"tool": "demo.hello"})


@pytest.mark.anyio
async def test_a_granted_path_is_looked_at_when_the_plugin_starts(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    asked = {"permission": f"fs:read:{data}", "reason": "it reads them"}
    folder = make_plugin("demo", CODE, permissions=["tools:register", asked])
    async with Host([folder], HostConfig(grants=GRANT_ALL_ASKED)) as host:
        demo = host.plugin("demo")
        assert "does not exist" in demo.error
        data.symlink_to(tmp_path)
        with pytest.raises(StartFailed, match="symbolic link"):
            await demo.start()
        data.unlink()
        data.mkdir()
        await demo.start()
        assert await host.call("demo.hello") == "hello"


@pytest.mark.anyio
async def test_no_plugin_is_granted_the_folder_of_another(make_plugin: MakePlugin) -> None:
    folder = make_plugin("other", CODE)
    asked = {"permission": f"fs:read:{folder}/other", "reason": "it is curious"}
    make_plugin("demo", CODE, permissions=[asked])
    async with Host([folder], HostConfig(grants=GRANT_ALL_ASKED)) as host:
        assert "a plugin's own" in host.problems["demo"]
        assert "other" not in host.problems


def test_a_wrong_grant_is_told_when_the_host_is_made() -> None:
    with pytest.raises(HostMisuse, match=r"grants\['demo'\]: there is no permission 'fly:high'"):
        Host([], HostConfig(grants={"demo": ["fly:high"]}))


def test_the_repositorys_own_file_grants_what_its_plugins_ask_for() -> None:
    root = Path(__file__).parents[1]
    grants = load_grants(root / "plughost.toml")
    manifests = [*root.glob("plugins/*/manifest.json"), *root.glob("examples/*/plugins/*/*.json")]
    assert len(manifests) >= 7
    for path in manifests:
        manifest = read_manifest(path.parent)
        asked = [str(ask.permission) for ask in manifest.asks()]
        # The network is the operator's to grant: the plugin weather runs without it.
        assert list(grants[manifest.id]) == [one for one in asked if "http:" not in one]
