"""Manifests, permissions and discovery: every mistake gets its file, field, reason and remedy."""

import json
from pathlib import Path
from typing import Any

import pytest

from plughost import ManifestError
from plughost.catalog.discovery import discover
from plughost.catalog.manifest import read_manifest
from plughost.catalog.permissions import PERMISSIONS, Permission, Scope

from .conftest import MakePlugin

GOOD: dict[str, Any] = {"id": "demo", "name": "Demo", "version": "1.0.0"}


def write(folder: Path, manifest: object, code: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    (folder / "manifest.json").write_text(text)
    (folder / "plugin.py").write_text(code)
    return folder


def test_a_manifest_needs_three_fields_and_defaults_the_rest(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, GOOD))
    assert (manifest.main, manifest.permissions, manifest.dependencies) == ("plugin.py", [], [])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"colour": "red"}, "colour: unknown field; there are id, name"),
        ({"id": "Demo!"}, "id: 'Demo!' is none: write lower-case letters"),
        ({"id": "Demo!"}, "write lower-case letters, digits and hyphens"),
        ({"id": None}, "id: Expected `str`, got `null`"),
        ({"version": "one"}, "write a semantic version, such as '1.0.0'"),
        ({"version": "01.0.0"}, "version"),
        ({"permissions": ["fly:high"]}, "permissions[0]: there is no permission 'fly:high'"),
        ({"permissions": ["tools:register:x"]}, "permissions[0]: tools:register takes no scope"),
        ({"permissions": ["fs:read"]}, "permissions[0]: fs:read needs a scope"),
        ({"permissions": "tools:register"}, "permissions: Expected `object | array`, got `str`"),
        ({"permissions": ["tools:register", "fs:read:/srv"]}, "permissions[1]: fs:read needs a re"),
        ({"permissions": ["process:spawn"]}, "permissions[0]: process:spawn needs a reason"),
        ({"permissions": ["env:read:CITY"]}, 'write {"permission": "env:read:CITY", "reason"'),
        ({"permissions": [{"permission": "users:read", "why": "x"}]}, "unknown field `why`"),
        ({"permissions": ["users:read", "users:read"]}, "users:read is asked for twice"),
        ({"permissions": ["users:read"] * 101}, "permissions: Expected `array` of length <= 100"),
        ({"permissions": {"fileSystem": True}}, "permissions.fileSystem: true is too wide"),
        ({"permissions": {"network": True}}, "permissions.network: true is too wide: name the ho"),
        ({"permissions": {"network": ["*"]}}, "permissions.network[0]: net:connect: '*' is too wi"),
        ({"permissions": {"fileSystem": ["x"]}}, "fileSystem[0]: fs:read: 'x' is no absolute path"),
        ({"permissions": {"reasons": {"disk": "x"}}}, "permissions.reasons.disk: is no group"),
        (
            {"permissions": {"others": ["fly:high"]}},
            "permissions.others[0]: there is no permission",
        ),
        ({"activation": ["tools"]}, "activation: 'tools' starts nothing: there are start, tool"),
        ({"activation": ["tool", "start"]}, "activation: 'start' stands alone"),
        ({"activation": ["command"]}, "activation: 'command' is incomplete: write command:NAME"),
        ({"activation": ["event:a b"]}, "activation: 'a b' is no pattern of event names"),
        ({"activation": "tool"}, "activation: Expected `array`, got `str`"),
        ({"limits": {"memory": "lots"}}, "limits.memory: 'lots' is no size"),
        ({"limits": {"cpu": "50"}}, "limits.cpu: '50' is no share"),
        ({"limits": {"timeout": 0}}, "limits"),
        ({"limits": {"disk": "1GB"}}, "limits"),
        ({"main": "gone.py"}, "main: there is no file 'gone.py'"),
        ({"main": "../outside.py"}, "main: '../outside.py' leads out of the plugin's folder"),
        ({"main": "notes.txt"}, "main: 'notes.txt' is not a Python file"),
        ({"dependencies": ["demo"]}, "dependencies: the plugin names itself"),
    ],
)
def test_each_mistake_is_named_with_its_field_and_remedy(
    tmp_path: Path, change: dict[str, Any], problem: str
) -> None:
    (tmp_path / "outside.py").touch()
    folder = write(tmp_path / "demo", GOOD | change)
    (folder / "notes.txt").touch()
    with pytest.raises(ManifestError) as caught:
        read_manifest(folder)
    assert problem in str(caught.value)
    assert str(folder / "manifest.json") in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path, {"id": "X", "color": 1}))
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"id": "demo",\n "name": }', "is not JSON: JSON is malformed: invalid character (line 2"),
        ("", "is not JSON"),
        ("[]", "must be a JSON object"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_what_is_no_json_object_is_refused_with_its_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(write(tmp_path, text))
    assert problem in str(caught.value)


def test_a_folder_gives_its_plugins_and_names_what_is_none(
    make_plugin: MakePlugin, tmp_path: Path
) -> None:
    folder = make_plugin("good", "")
    write(folder / "bad", {"id": "bad"})
    (folder / "bare").mkdir()
    (folder / "bare" / "plugin.py").touch()
    (folder / "notes").mkdir()
    write(folder / "twin", GOOD | {"id": "good"})
    found, refused = discover([folder])
    assert [plugin.manifest.id for plugin in found] == ["good"]
    assert {item.name for item in refused} == {"bad", "bare", "twin"}
    assert any("taken by" in str(item.error) for item in refused)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_a_folder_without_a_plugin_is_an_error_that_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    found, refused = discover([tmp_path / name])
    assert not found
    assert len(refused) == 1
    assert name in str(refused[0].error)


def asks(tmp_path: Path, permissions: object) -> list[tuple[str, str, bool]]:
    manifest = read_manifest(write(tmp_path, GOOD | {"permissions": permissions}))
    return [(str(ask.permission), ask.reason, ask.optional) for ask in manifest.asks()]


def test_a_permission_is_a_text_or_an_entry_with_its_reason(tmp_path: Path) -> None:
    written = [
        "tools:register",
        {"permission": "fs:read:/srv/data/", "reason": " it indexes them "},
        {"permission": "net:connect:API.example.com:8443", "reason": "news", "optional": True},
    ]
    assert asks(tmp_path, written) == [
        ("tools:register", "", False),
        ("fs:read:/srv/data", "it indexes them", False),
        ("net:connect:api.example.com:8443", "news", True),
    ]


def test_permissions_may_be_grouped_by_what_they_are_for(tmp_path: Path) -> None:
    written = {
        "fileSystem": ["/srv/data", "~/notes:rw"],
        "network": ["api.example.com"],
        "events": ["session.created"],
        "reasons": {"fileSystem": "it indexes them"},
        "others": ["tools:register"],
    }
    assert asks(tmp_path, written) == [
        ("fs:read:/srv/data", "it indexes them", False),
        ("fs:write:~/notes", "it indexes them", False),
        ("net:connect:api.example.com", "", False),
        ("events:subscribe:session.created", "", False),
        ("tools:register", "", False),
    ]


def test_a_group_that_is_false_asks_for_nothing(tmp_path: Path) -> None:
    assert asks(tmp_path, {"fileSystem": False, "network": False, "events": False}) == []
    assert asks(tmp_path, {"events": True}) == [("events:subscribe", "", False)]


def test_a_plugin_sees_its_permissions_as_texts_however_they_are_written(tmp_path: Path) -> None:
    manifest = read_manifest(
        write(tmp_path, GOOD | {"permissions": {"network": ["a.example.com"]}})
    )
    assert manifest.as_told()["permissions"] == ["net:connect:a.example.com"]


SCOPES = {
    "env:read": "CITY",
    "fs:read": "/srv",
    "fs:write": "~/x",
    "hooks:register": "filter_event",
    "http:outbound": "a.example.com",
    "net:connect": "a.example.com",
}


@pytest.mark.parametrize("name", PERMISSIONS)
def test_every_permission_of_the_table_can_be_parsed_shown_and_said_in_words(name: str) -> None:
    kind = PERMISSIONS[name]
    text = name if kind.scope is Scope.NONE else f"{name}:{SCOPES.get(name, 'thing')}"
    permission = Permission.parse(text)
    assert str(permission) == text
    assert "{" not in permission.in_words()
    assert permission.scope in permission.in_words()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fs:read:data", "no absolute path"),
        ("fs:read:${data}", "no absolute path"),
        ("fs:read:~ada/x", "no absolute path"),
        ("fs:read:/srv/../etc", "without"),
        ("fs:read:/srv//data", "without"),
        ("fs:read:/srv/*", "pattern"),
        ("fs:read:/srv/\x1b[2J", "cannot be shown"),
        ("fs:read:/srv/\u202etxt", "cannot be shown"),
        ("fs:read:/" + "x" * 1000, "at most 1000"),
        ("net:connect:*", "too wide"),
        ("net:connect:*.com", "too wide"),
        ("net:connect:169.254.169.254", "address"),
        ("net:connect:example.com:0", "no port"),
        ("env:read:A-B", "no variable's name"),
        ("env:read:LD_PRELOAD", "obeys"),
        ("env:read:PYTHONPATH", "obeys"),
        ("env:read:GLIBC_TUNABLES", "obeys"),
        ("env:read:MALLOC_TRACE", "obeys"),
        ("env:read:PATH", "obeys"),
        ("env:read:HOME", "obeys"),
        ("env:read:TMPDIR", "obeys"),
        ("events:emit:a b", "space"),
    ],
)
def test_a_scope_that_cannot_be_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Permission.parse(text)


def test_a_path_may_hold_spaces_and_ends_without_a_slash() -> None:
    assert str(Permission.parse("fs:read:/srv/my files/")) == "fs:read:/srv/my files"


@pytest.mark.parametrize(
    "text", ["", "tools", "tools:", "tools:register ", "tools:execute:", "a:b"]
)
def test_what_is_no_permission_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="permission"):
        Permission.parse(text)


def test_a_scope_covers_its_pattern_and_a_permission_without_one_covers_all() -> None:
    assert Permission.parse("tools:execute").covers("tools:execute", "weather.get")
    weather = Permission.parse("tools:execute:weather.*")
    assert weather.covers("tools:execute", "weather.get")
    assert not weather.covers("tools:execute", "cache.get")
    assert not weather.covers("tools:register")
