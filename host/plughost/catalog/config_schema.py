"""What a plugin's configuration may be, and what it is where the operator says nothing."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from difflib import get_close_matches
from typing import Any, Final

from .schema import CompiledSchema, SchemaRefused

__all__ = ["ConfigSchema"]

# Words by which a JSON Schema differs from a plain table of properties.
_SCHEMA_WORDS: Final = {"$schema", "$ref", "allOf", "anyOf", "oneOf", "properties"}
_LOOSE_WORDS: Final = {"min": "minimum", "max": "maximum"}
# All of JSON Schema, draft 2020-12, and what draft 7 has besides.
_JSON_SCHEMA: Final = """
$anchor $comment $defs $dynamicAnchor $dynamicRef $id $ref $schema $vocabulary
additionalItems additionalProperties allOf anyOf const contains contentEncoding
contentMediaType contentSchema default definitions dependencies dependentRequired
dependentSchemas deprecated description else enum examples exclusiveMaximum exclusiveMinimum
format if items maxContains maxItems maxLength maxProperties maximum minContains minItems
minLength minProperties minimum multipleOf not oneOf pattern patternProperties prefixItems
properties propertyNames readOnly required then title type unevaluatedItems
unevaluatedProperties uniqueItems writeOnly
"""
_KEYWORDS: Final = frozenset(_JSON_SCHEMA.split()) | set(_LOOSE_WORDS)


class ConfigSchema:
    """The `config_schema` of a manifest.

    Either a JSON Schema of an object, or a table of properties in which each says by itself
    whether it is `required`, and may say `min` and `max` for `minimum` and `maximum`.
    """

    def __init__(self, declared: Mapping[str, Any]) -> None:
        """Raises `ValueError`, with the reason in words."""
        self.schema = _as_json_schema(declared)
        try:
            self._compiled = CompiledSchema(self.schema)
            # What is required and has no default is the operator's to give.
            defaults = CompiledSchema({**self.schema, "required": []})
        except SchemaRefused as exc:
            raise ValueError(str(exc)) from exc
        if problems := _problems(defaults, _with_defaults(self.schema, {})):
            raise ValueError(f"its own defaults do not fit: {problems}")

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The operator's values, with the defaults for the others.

        Raises `ValueError` with each value that does not fit, and its path.
        """
        values = _with_defaults(self.schema, given)
        if problems := _problems(self._compiled, values):
            raise ValueError(problems)
        return values


def _problems(schema: CompiledSchema, values: Mapping[str, Any]) -> str:
    return "; ".join(f"{problem.path} {problem.reason}" for problem in schema.explain(values))


def _as_json_schema(declared: Mapping[str, Any]) -> dict[str, Any]:
    if _SCHEMA_WORDS & declared.keys() or isinstance(declared.get("type"), str):
        if declared.get("type", "object") != "object":
            raise ValueError("its type must be 'object': a configuration is a table of values")
        return {"type": "object", **declared}
    properties: dict[str, Any] = {}
    required = []
    for name, rule in declared.items():
        if not isinstance(rule, Mapping):
            raise ValueError(  # noqa: TRY004 - a mistake in a file, not in a call
                f"{name} must be an object such as {{'type': 'string'}}"
            )
        _check_words(name, rule)
        words = dict(rule)
        wanted = words.pop("required", False)
        if not isinstance(wanted, bool):
            raise ValueError(f"{name}.required must be true or false")  # noqa: TRY004
        if wanted:
            required.append(name)
        for loose, strict in _LOOSE_WORDS.items():
            if loose in words:
                words[strict] = words.pop(loose)
        properties[name] = words
    return {"type": "object", "properties": properties, "required": required}


def _check_words(name: str, words: Iterable[str]) -> None:
    """Raises `ValueError` for a word that JSON Schema would pass over. `x-` begins one's own."""
    for word in words:
        if word in _KEYWORDS or word.startswith("x-"):
            continue
        near = get_close_matches(word, _KEYWORDS, n=1)
        then = f"did you mean {near[0]!r}?" if near else "a note of your own begins with x-"
        raise ValueError(f"{name}.{word} is no keyword of JSON Schema; {then}")


def _with_defaults(schema: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(given)
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return values
    for name, rule in properties.items():
        if not isinstance(rule, Mapping):
            continue
        if name not in values and "default" in rule:
            values[name] = deepcopy(rule["default"])
        elif isinstance(values.get(name), Mapping):
            values[name] = _with_defaults(rule, values[name])
    return values
