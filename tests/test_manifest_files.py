"""A manifest in each of the files that it may be written in, and mistakes with their places."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plughost import ManifestError
from plughost.catalog.manifest import Manifest, read_manifest
from plughost.catalog.manifest_files import has_manifest, other_sources

PYPROJECT = """
[project]
name = "from-project"
version = "1.2.3"
description = "What it is."
authors = [{ name = "Ada", email = "ada@example.com" }]
requires-python = ">=3.11"
[project.urls]
Homepage = "https://example.com"

[tool.plughost]
permissions = ["tools:register"]
dependencies = ["cache>=1"]
"""

HEADER = '''#!/usr/bin/env python3
# Copyright somebody
# /// plughost
# id = "single"
# name = "Single"
# version = "1.0.0"
#
# permissions = [
#   "tools:register",
# ]
# ///
"""The plugin."""
'''


def folder(root: Path, **files: str) -> Path:
    root.mkdir(exist_ok=True)
    (root / "plugin.py").touch()
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def problems(root: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(root)
    return [line.removeprefix(f"{root}/") for line in caught.value.located()]


def test_a_pyproject_is_one_and_says_of_the_plugin_what_it_says_of_the_package(
    tmp_path: Path,
) -> None:
    manifest = read_manifest(folder(tmp_path, pyproject__toml=PYPROJECT))
    assert (manifest.id, manifest.name) == ("from-project", "from-project")
    assert (manifest.version, manifest.author) == ("1.2.3", "Ada")
    assert (manifest.homepage, manifest.requires_python) == ("https://example.com", ">=3.11")
    assert manifest.dependencies == ["cache>=1"]


def test_what_the_plugins_own_table_says_stands_over_the_package(tmp_path: Path) -> None:
    text = PYPROJECT + 'id = "own"\nname = "Own name"\nversion = "2.0.0"\n'
    manifest = read_manifest(folder(tmp_path, pyproject__toml=text))
    assert (manifest.id, manifest.name, manifest.version) == ("own", "Own name", "2.0.0")


def test_a_package_json_is_one(tmp_path: Path) -> None:
    package = {
        "name": "from-package",
        "version": "1.2.3",
        "author": {"name": "Ada"},
        "main": "index.js",
        "plughost": {"permissions": ["tools:register"], "tags": ["text"]},
    }
    manifest = read_manifest(folder(tmp_path, package__json=json.dumps(package)))
    assert (manifest.id, manifest.version, manifest.author) == ("from-package", "1.2.3", "Ada")
    assert (manifest.main, manifest.tags) == ("plugin.py", ["text"])


def test_a_package_with_a_name_that_is_no_id_needs_one(tmp_path: Path) -> None:
    package = {"name": "@ada/tools", "version": "1.0.0", "plughost": {}}
    root = folder(tmp_path, package__json=json.dumps(package))
    assert "id: is missing: write lower-case letters" in problems(root)[0]
    package["plughost"] = {"id": "tools"}
    (root / "package.json").write_text(json.dumps(package))
    assert read_manifest(root).name == "@ada/tools"


def test_files_of_other_packages_are_no_manifests(tmp_path: Path) -> None:
    folder(tmp_path, pyproject__toml='[project]\nname = "app"\ndependencies = ["plughost"]\n')
    (tmp_path / "package.json").write_text('{"name": "app", "keywords": ["plughost"]}')
    assert not has_manifest(tmp_path)
    (tmp_path / "pyproject.toml").write_text("plughost [ is no TOML")
    (tmp_path / "package.json").write_text('"plughost" is no JSON')
    assert not has_manifest(tmp_path)


def test_manifest_json_is_read_first_and_the_others_are_named(tmp_path: Path) -> None:
    own = '{"id": "own", "name": "Own", "version": "1.0.0", "$schema": "./manifest.schema.json"}'
    root = folder(tmp_path, manifest__json=own, pyproject__toml=PYPROJECT, package__json="{}")
    assert read_manifest(root).id == "own"
    assert other_sources(root) == [root / "pyproject.toml"]


def test_all_fields_of_other_systems_have_a_place(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "id": "weather",
        "name": "Weather",
        "version": "1.0.0",
        "description": "d",
        "author": "a",
        "homepage": "h",
        "main": "plugin.py",
        "plugin_type": "tool",
        "tags": ["tool", "utility"],
        "permissions": [],
        "dependencies": ["database", "auth"],
        "config_schema": {"api_key": {"type": "string", "required": True}},
        "capabilities": {
            "event_namespaces": ["/system"],
            "commands": ["system:health"],
            "provides_services": ["forecast"],
        },
        "min_host_version": "0.1.0",
        "limits": {"memory": "100MB", "cpu": "50%"},
    }
    manifest = read_manifest(folder(tmp_path, manifest__json=json.dumps(fields)))
    assert manifest.type == "tool"
    assert manifest.provides() == ("forecast",)
    assert manifest.as_told()["services"] == ["forecast"]


def test_a_name_that_another_system_has_for_a_field_is_refused_with_ours(tmp_path: Path) -> None:
    fields = '{"id": "a", "name": "a", "version": "1.0.0", "minOpenSentinelVersion": "1.0.0"}'
    root = folder(tmp_path, manifest__json=fields)
    assert problems(root) == [
        "manifest.json:1:46: minOpenSentinelVersion: unknown field; write min_host_version"
    ]


def test_every_problem_of_a_json_manifest_has_its_line_and_column(tmp_path: Path) -> None:
    text = """{
  "id": "Big",
  "version": "one", "colour": 1,
  "permissions": ["tools:register", 5,
    {"permission": "users:read", "why": "x"}],
  "limits": {"timeout": 0,
             "disk": "1GB"},
  "tags": ["ok", "", 7]
}"""
    told = problems(folder(tmp_path, manifest__json=text))
    assert [line.partition(": ")[0] for line in told] == [
        "manifest.json:1:1",
        "manifest.json:2:9",
        "manifest.json:3:14",
        "manifest.json:3:21",
        "manifest.json:4:37",
        "manifest.json:5:5",
        "manifest.json:6:25",
        "manifest.json:7:14",
        "manifest.json:8:18",
        "manifest.json:8:22",
    ]
    assert "tags[2]: Expected `str`, got `int`" in told[9]
    assert "name: is missing" in told[0]


def test_what_fields_mean_is_checked_with_its_place_too(tmp_path: Path) -> None:
    text = """{"id": "a", "name": "a", "version": "1.0.0",
 "permissions": ["tools:register",
                 "fly:high"],
 "dependencies": ["b", "c>=x"],
 "requires_python": "new",
 "limits": {"memory": "lots"}, "main": "gone.py"}"""
    told = problems(folder(tmp_path, manifest__json=text))
    assert [line.partition(": ")[0] for line in told] == [
        "manifest.json:3:18",
        "manifest.json:4:24",
        "manifest.json:5:21",
        "manifest.json:6:23",
        "manifest.json:6:40",
    ]


def test_a_problem_of_what_the_package_says_is_found_where_it_says_it(tmp_path: Path) -> None:
    text = PYPROJECT.replace('"1.2.3"', '"1.2"').replace('"cache>=1"', '"cache>=1", "X"')
    told = problems(folder(tmp_path, pyproject__toml=text))
    assert told[0].startswith("pyproject.toml:4:11: version: '1.2' is none")
    assert told[1].startswith("pyproject.toml:13:29: dependencies[1]: 'X' is no dependency")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("manifest.json", '{"id": "a",\n "né" 1}', "manifest.json:2:7: is not JSON"),
        ("manifest.json", '{"id": "a",\n "na', "manifest.json:2:5: is not JSON: it ends too early"),
        ("manifest.json", "", "manifest.json:1:1: is not JSON: it ends too early"),
        ("manifest.json", '{"id": 1, "id": "a"}', "manifest.json:1:11: id: is written twice"),
        ("pyproject.toml", "[tool.plughost]\nid = \n", "pyproject.toml:2:6: is not TOML"),
        ("pyproject.toml", "tool.plughost = 1", "pyproject.toml:1:17: tool.plughost: must be a ta"),
        ("package.json", '{"plughost": {', "package.json:1:15: is not JSON: it ends too early"),
        ("package.json", '{"plughost": []}', "package.json:1:14: plughost: must be a table"),
    ],
)
def test_a_file_that_is_half_written_or_wrong_is_named_with_line_and_column(
    tmp_path: Path, name: str, text: str, problem: str
) -> None:
    folder(tmp_path)
    (tmp_path / name).write_text(text)
    assert any(told.startswith(problem) for told in problems(tmp_path)), problems(tmp_path)


def test_what_is_no_text_or_no_file_or_too_long_is_refused(tmp_path: Path) -> None:
    folder(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_bytes('{"name": "é\xff"}'.encode("latin-1"))
    assert "is not UTF-8" in problems(tmp_path)[0]
    path.write_text(" " * 1_000_001)
    assert "is longer than 1000000 bytes" in problems(tmp_path)[0]
    path.unlink()
    os.mkfifo(path)
    assert problems(tmp_path) == ["manifest.json: is no regular file"]
    path.unlink()
    path.symlink_to(path)
    assert "symbolic links" in problems(tmp_path)[0]
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    assert problems(tmp_path) == ["manifest.json: is a symbolic link that leads nowhere"]


def single(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "single.py"
    path.write_text(text)
    return path


def test_a_python_file_has_its_manifest_in_a_header(tmp_path: Path) -> None:
    manifest = read_manifest(single(tmp_path, HEADER))
    assert (manifest.id, manifest.main) == ("single", "single.py")
    assert manifest.permissions == ["tools:register"]
    assert read_manifest(single(tmp_path, HEADER.replace("\n", "\r\n"))) == manifest


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"1.0.0"', '"one"', "single.py:6:13: version: 'one' is none"),
        ('"tools:register"', '"fly:high"', "single.py:9:5: permissions[0]: there is no permission"),
        ('"Single"', '"Single', "single.py:5:17: is not TOML"),
        ("# ///\n", "", "single.py:3:1: the header '# /// plughost' has no end"),
        ('"""The', '\n# /// plughost\n# ///\n"""The', "single.py:13:1: has 2 headers"),
        (
            "# permissions",
            '# main = "x.py"\n# permissions',
            "single.py:8:10: main: a plugin of one",
        ),
    ],
)
def test_a_mistake_in_a_header_is_found_in_the_file(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    path = single(tmp_path, HEADER.replace(old, new))
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert caught.value.located()[0].startswith(f"{tmp_path}/{problem}"), caught.value


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("limits = { timeout = nan }", "limits.timeout"),
        ("limits = { timeout = inf }", "limits.timeout"),
        ("name = 1979-05-27", "name"),
        ("config_schema = { a = { default = 1979-05-27 } }", "config_schema"),
        (f"tags = {'9' * 5000}", "is not TOML"),
        (f"tags = {'[' * 5000}{']' * 5000}", ""),
        (f"tags = {'[' * 300}{']' * 300}", "tags"),
        (f"config_schema = {'{ a = ' * 300}1{' }' * 300}", "config_schema"),
    ],
)
def test_what_only_toml_can_say_is_no_better(tmp_path: Path, written: str, problem: str) -> None:
    head = '[tool.plughost]\nid = "a"\nversion = "1.0.0"\n'
    head += "" if written.startswith("name") else 'name = "a"\n'
    told = problems(folder(tmp_path, pyproject__toml=head + written))
    assert any(problem in line for line in told), told


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from([*Manifest.__struct_fields__, "plugin_type", "x.y[0]", "a\nb", ""])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, ANY, max_size=6))
def test_no_manifest_does_more_than_be_refused(fields: dict[str, Any]) -> None:
    with TemporaryDirectory() as made:
        root = folder(Path(made), manifest__json=json.dumps(fields))
        good = {"id": "a", "name": "a", "version": "1.0.0"}
        for text in (fields, good | fields):
            (root / "manifest.json").write_text(json.dumps(text))
            refusals: list[ManifestError] = []
            try:
                assert read_manifest(root).as_told()
            except ManifestError as exc:
                refusals.append(exc)
            for refusal in refusals:
                assert all(line and column for line, column in refusal.marks)
                assert not any("\n" in line for line in refusal.located())


def test_a_header_in_a_string_or_of_another_tool_is_none(tmp_path: Path) -> None:
    path = single(tmp_path, 'X = """ # /// plughost"""\n# /// script\n# dependencies = []\n# ///\n')
    assert not path.is_dir()
    with pytest.raises(ManifestError, match="is missing"):
        read_manifest(path)


def test_a_manifest_that_is_a_file_says_the_same_as_one_in_json(tmp_path: Path) -> None:
    text = HEADER.replace('"tools:register",', '{ permission = "users:read", optional = true },')
    manifest = read_manifest(single(tmp_path, text))
    fields = {
        "id": "single",
        "name": "Single",
        "version": "1.0.0",
        "main": "single.py",
        "permissions": [{"permission": "users:read", "optional": True}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(fields))
    assert isinstance(manifest, Manifest)
    assert read_manifest(tmp_path) == manifest
