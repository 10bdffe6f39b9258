"""The published schema: what an editor is told is what the host takes."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from plughost.catalog.manifest import Manifest, read_manifest
from plughost.catalog.manifest_schema import manifest_schema
from plughost.catalog.permissions import PERMISSIONS
from plughost.management.schema import schema_text

from .cli_runner import plughost

ROOT = Path(__file__).parents[1]
GOOD: dict[str, Any] = {"id": "demo", "name": "Demo", "version": "1.0.0"}


def is_valid(fields: dict[str, Any]) -> bool:
    return Draft202012Validator(manifest_schema()).is_valid(fields)


def test_the_schema_is_one_and_each_field_is_described() -> None:
    schema = manifest_schema()
    Draft202012Validator.check_schema(schema)
    fields = {field.encode_name for field in msgspec.structs.fields(Manifest)}
    assert set(schema["properties"]) == fields | {"$schema", "plugin_type"}
    for definition in (schema, *schema["$defs"].values()):
        for name, field in definition.get("properties", {}).items():
            assert field.get("description"), (definition.get("title"), name)


def test_the_published_file_is_what_the_command_prints() -> None:
    published = (ROOT / "docs" / "manifest.schema.json").read_text()
    assert published == schema_text("manifest")
    for options in ([], ["--json"]):
        assert plughost("schema", "manifest", *options).out == published
    assert plughost("schema", "nonsense").code == 2


@pytest.mark.parametrize(
    "path",
    sorted([*ROOT.glob("plugins/*/manifest.json"), *ROOT.glob("tests/plugins/*/manifest.json")]),
    ids=lambda path: path.parent.name,
)
def test_manifests_that_the_host_takes_fit_the_schema(path: Path) -> None:
    read_manifest(path.parent)
    assert is_valid(json.loads(path.read_text()))


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1},
        {"id": "Demo"},
        {"version": "1.0"},
        {"name": 5},
        {"permissions": ["tools:registre"]},
        {"permissions": ["fs:read"]},
        {"permissions": [{"permission": "users:read", "why": "x"}]},
        {"permissions": {"disk": True}},
        {"limits": {"timeout": 0}},
        {"limits": {"disk": "1GB"}},
        {"dependencies": [{"name": "cache"}]},
        {"tags": "tool"},
        {"min_host_version": "new"},
    ],
)
def test_a_mistake_that_an_editor_can_see_is_one_to_the_schema(change: dict[str, Any]) -> None:
    assert is_valid(GOOD)
    assert not is_valid(GOOD | change)


def test_an_editor_is_offered_the_permissions() -> None:
    offered = manifest_schema()["$defs"]["Permission"]["anyOf"][0]["enum"]
    assert set(offered) <= set(PERMISSIONS)
    assert "tools:register" in offered
    assert is_valid(GOOD | {"permissions": ["tools:register", "net:connect:api.example.com"]})


@pytest.mark.parametrize("field", ["id", "name", "version"])
def test_what_is_required_is_required_in_the_schema(field: str) -> None:
    assert not is_valid({name: value for name, value in GOOD.items() if name != field})
