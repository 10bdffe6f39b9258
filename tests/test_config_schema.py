"""What a plugin's configuration may be: checked where it is declared and where it is given."""

from collections.abc import Iterable
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped] # it has no types

from plughost import Host, PluginConfig
from plughost.catalog.config_schema import _KEYWORDS, _LOOSE_WORDS, ConfigSchema

from .conftest import MakePlugin, trusting

TABLE: dict[str, Any] = {
    "api_key": {"type": "string", "required": True, "description": "for the weather"},
    "timeout": {"type": "integer", "required": False, "default": 30, "min": 1, "max": 300},
    "features": {"type": "array", "items": {"type": "string"}},
}


def test_a_table_of_properties_is_read_as_the_json_schema_that_it_means() -> None:
    assert ConfigSchema(TABLE).schema == {
        "type": "object",
        "required": ["api_key"],
        "properties": {
            "api_key": {"type": "string", "description": "for the weather"},
            "timeout": {"type": "integer", "default": 30, "minimum": 1, "maximum": 300},
            "features": {"type": "array", "items": {"type": "string"}},
        },
    }


def test_defaults_fill_what_the_operator_left_out_at_every_depth() -> None:
    schema = ConfigSchema(
        {
            "type": "object",
            "properties": {
                "port": {"type": "integer", "default": 80},
                "tags": {"type": "array", "default": []},
                "proxy": {"type": "object", "properties": {"on": {"default": False}}},
            },
        }
    )
    assert schema.complete({"proxy": {}, "port": 8080}) == {
        "port": 8080,
        "tags": [],
        "proxy": {"on": False},
    }
    schema.complete({})["tags"].append("x")
    assert schema.complete({})["tags"] == []


def test_a_table_knows_every_keyword_of_json_schema_and_notes_of_ones_own() -> None:
    known = {
        word
        for part in (
            *Draft202012Validator.META_SCHEMA["allOf"],
            {"$ref": Draft7Validator.META_SCHEMA["$id"]},
        )
        for word in _described_by(part["$ref"])
    }
    assert {"minLength", "definitions", "contains", "$ref"} < known
    assert known | set(_LOOSE_WORDS) == _KEYWORDS
    ConfigSchema({"key": {"type": "string", "x-label": "Key"}})


def _described_by(uri: str) -> Iterable[str]:
    base = "https://json-schema.org/draft/2020-12/"
    name = uri if "://" in uri else base + uri
    found: dict[str, Any] = REGISTRY.contents(name)["properties"]
    return found


def test_without_a_schema_every_value_is_taken() -> None:
    assert ConfigSchema({}).complete({"anything": [1, None]}) == {"anything": [1, None]}


def test_every_value_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"api_key is required.*timeout must be at most 300"):
        ConfigSchema(TABLE).complete({"timeout": 301})


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"type": "array"}, "its type must be 'object'"),
        ({"port": 80}, "port must be an object"),
        ({"port": {"type": "integer", "required": "yes"}}, "port.required must be true or false"),
        ({"port": {"type": "integr"}}, "integr"),
        ({"key": {"type": "string", "requird": True}}, r"key\.requird .*did you mean 'required'\?"),
        ({"port": {"type": "integer", "mx": 9}}, r"port\.mx .*did you mean 'max'\?"),
        ({"port": {"ui": {}}}, r"port\.ui is no keyword of JSON Schema; a note of your own"),
        ({"port": {"type": "integer", "default": "80"}}, r"its own defaults do not fit: \$\.port"),
    ],
)
def test_a_schema_that_cannot_be_is_refused(declared: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ConfigSchema(declared)


CODE = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.tool
    def config() -> dict[str, object]:
        return dict(plugin.api.config)
"""


@pytest.mark.anyio
async def test_a_plugin_sees_its_values_with_the_defaults(make_plugin: MakePlugin) -> None:
    folder = make_plugin("demo", CODE, config_schema=TABLE)
    config = trusting(plugins={"demo": PluginConfig(config={"api_key": "k"})})
    async with Host([folder], config) as host:
        assert await host.call("demo.config") == {"api_key": "k", "timeout": 30}


@pytest.mark.anyio
async def test_a_plugin_whose_configuration_does_not_fit_is_not_started(
    make_plugin: MakePlugin,
) -> None:
    make_plugin("other", CODE)
    folder = make_plugin("demo", CODE, config_schema=TABLE)
    async with Host([folder], trusting()) as host:
        assert "its configuration does not fit its config_schema" in host.problems["demo"]
        assert "api_key" in host.problems["demo"]
        assert await host.call("other.config") == {}


@pytest.mark.anyio
async def test_a_schema_that_cannot_be_is_a_mistake_in_the_manifest(
    make_plugin: MakePlugin,
) -> None:
    folder = make_plugin("demo", CODE, config_schema={"port": 80})
    async with Host([folder], trusting()) as host:
        assert "config_schema: port must be an object" in host.problems["demo"]
