"""A plugin's JSON Schema, compiled for checking the parameters of every call."""

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import jsonschema_rs
import msgspec

from plughost.catalog.schema_cost import Cost, Node, measure, pointer_text, subschemas
from plughost.catalog.schema_explain import PATTERN_OPTIONS, find_problems, pattern_matcher
from plughost.catalog.schema_limits import (
    SchemaLimits,
    SchemaProblem,
    SchemaRefused,
    count_json,
    json_fault,
    shown,
    text_length,
    value_path,
)

__all__ = ["CompiledSchema", "SchemaLimits", "SchemaProblem", "SchemaRefused"]

_DRAFTS: Final = {
    "http://json-schema.org/draft-07/schema": ("draft-07", jsonschema_rs.Draft7Validator),
    "https://json-schema.org/draft/2019-09/schema": ("2019-09", jsonschema_rs.Draft201909Validator),
    "https://json-schema.org/draft/2020-12/schema": ("2020-12", jsonschema_rs.Draft202012Validator),
}
_LIMITS = SchemaLimits()
_DEFAULT_DRAFT = "https://json-schema.org/draft/2020-12/schema"
# Random, so that no plugin's object passes for bytes.
_BYTES_KEY = secrets.token_hex(16)
_BYTES = (bytes, bytearray, memoryview)
# Above, Python's engine would take seconds, and above the second the error objects of Rust's.
_MAX_PYTHON_WORK, _MAX_ERROR_WORK = 20_000, 200_000
_MAX_PYTHON_UNIQUE = 300  # uniqueItems compares every pair


class CompiledSchema:
    """Tells whether a value is what the schema allows, in linear time and without I/O.

    Values are what JSON can say, with tuples as arrays and integers of up to 64 bits. Bytes
    are accepted where the schema says `{"type": "string", "contentEncoding": "base64"}`,
    whatever lengths it asks for, and in such a schema wherever it asks for nothing. `format`
    is not checked. Raises SchemaRefused.
    """

    def __init__(self, schema: Mapping[str, object] | bool, limits: SchemaLimits = _LIMITS) -> None:
        given = dict(schema) if isinstance(schema, Mapping) else schema
        data = _plain(given, limits)
        self.schema: dict[str, Any] | bool = msgspec.json.decode(data)
        self._limits = limits
        self._draft, validator = _draft(self.schema)
        self._checked: Any = msgspec.json.decode(data)
        self._mentions: set[str] = set()
        self._patterns = 0
        self._cost = Cost(1, 0)
        self._with_bytes: Any = None
        if isinstance(self._checked, dict):
            _check_against_its_draft(self._checked, self._draft)
            self._patterns = _check_patterns(self._checked, limits)
            self._cost = measure(self._checked, limits)
            self._mentions = _strip(self._checked)
        self._compares = bool(self._mentions & _COMPARING)
        room = (limits.max_work - self._cost.root) // max(self._cost.below, 1)
        self._max_values = min(limits.max_values, room)
        self._rust = self._rust_with_bytes = _compile(validator, self._checked)
        self._is_valid = self._rust.is_valid
        if "base64" in self._mentions:
            self._with_bytes = _allowing_bytes(msgspec.json.decode(data))
            self._rust_with_bytes = _compile(validator, self._with_bytes)

    def __repr__(self) -> str:
        return f"<CompiledSchema {self._draft} cost={self._cost.root}+{self._cost.below}>"

    def accepts(self, value: object) -> bool:
        """Whether the value is JSON that the schema allows. Never raises."""
        if not count_json(value, self._limits.max_value_depth, self._max_values):
            return self._with_bytes is not None and self._accepts_with_bytes(value)
        if self._patterns and self._is_too_much_text(value):
            return False
        accepted: bool = self._is_valid(value)
        return accepted

    def explain(self, value: object) -> list[SchemaProblem]:
        """What is wrong with the value: at most 20 problems, by path; none if it is accepted."""
        if self.accepts(value):
            return []
        limits, checked, rust = self._limits, self._checked, self._rust
        count = count_json(value, limits.max_value_depth, self._max_values)
        if not count and self._with_bytes is not None:
            value = _bytes_replaced(
                value, limits.max_value_depth, [self._max_values], self._compares
            )
            count = count_json(value, limits.max_value_depth, self._max_values)
            checked, rust = self._with_bytes, self._rust_with_bytes
        if not count:
            return [json_fault(value, limits.max_value_depth, self._max_values)]
        if self._patterns and self._is_too_much_text(value):
            most = limits.max_pattern_text // self._patterns
            return [SchemaProblem("$", f"has more than {most} characters, too many for patterns")]
        work = self._cost.root + count * self._cost.below
        problems: list[SchemaProblem] = []
        if self._suits_python(count, work):
            problems = find_problems(checked, self._draft, value, _BYTES_KEY)
        return problems or [self._first_problem(rust, value, work)]

    def _accepts_with_bytes(self, value: object) -> bool:
        depth = self._limits.max_value_depth
        value = _bytes_replaced(value, depth, [self._max_values], self._compares)
        if not count_json(value, depth, self._max_values):
            return False
        if self._patterns and self._is_too_much_text(value):
            return False
        return bool(self._rust_with_bytes.is_valid(value))

    def _is_too_much_text(self, value: object) -> bool:
        return text_length(value) * self._patterns > self._limits.max_pattern_text

    def _suits_python(self, count: int, work: int) -> bool:
        if {"unevaluatedProperties", "patternProperties"} <= self._mentions:
            return False  # it would run the patterns in Python's re
        if "uniqueItems" in self._mentions and count > _MAX_PYTHON_UNIQUE:
            return False
        return work <= _MAX_PYTHON_WORK

    def _first_problem(self, rust: Any, value: object, work: int) -> SchemaProblem:
        if work <= _MAX_ERROR_WORK or not self._mentions & {"anyOf", "oneOf"}:
            try:
                rust.validate(value)
            except jsonschema_rs.ValidationError as error:
                return SchemaProblem(value_path(error.instance_path), shown(error.message))
        return SchemaProblem("$", "is not what the schema allows, and too large to say where")


def _plain(schema: object, limits: SchemaLimits) -> bytes:
    """The schema as JSON text, once it is known to be JSON, and neither deep nor large."""
    if not isinstance(schema, dict | bool):
        raise SchemaRefused("", f"it is {type(schema).__name__}", "give an object or a boolean")
    if not count_json(schema, limits.max_depth, limits.max_nodes):
        fault = json_fault(schema, limits.max_depth, limits.max_nodes)
        raise SchemaRefused("", fault.reason, "declare a smaller schema, of JSON only")
    data = msgspec.json.encode(schema)
    if len(data) > limits.max_bytes:
        raise SchemaRefused(
            "",
            f"it takes {len(data)} bytes, the limit is {limits.max_bytes}",
            "shorten descriptions and enumerations",
        )
    return data


def _draft(schema: dict[str, Any] | bool) -> tuple[str, Any]:
    uri = _DEFAULT_DRAFT if isinstance(schema, bool) else schema.get("$schema", _DEFAULT_DRAFT)
    known = _DRAFTS.get(str(uri).removesuffix("#"))
    if known is None:
        raise SchemaRefused(
            "/$schema", f"{shown(str(uri))} is not a draft the host knows", f"use {_DEFAULT_DRAFT}"
        )
    return known


def _check_against_its_draft(schema: Node, draft: str) -> None:
    try:
        _META[draft].validate(schema)
    except jsonschema_rs.ValidationError as error:
        where = pointer_text(tuple(map(str, error.instance_path)))
        raise SchemaRefused(
            where, shown(error.message), f"correct it as JSON Schema {draft} asks"
        ) from None


def _check_patterns(schema: Node, limits: SchemaLimits) -> int:
    """The number of different patterns. Raises SchemaRefused for one the engine cannot do."""
    patterns: dict[str, str] = {}
    for at, node in subschemas(schema):
        if isinstance(node.get("pattern"), str):
            patterns.setdefault(node["pattern"], pointer_text((*at, "pattern")))
        held = node.get("patternProperties")
        for pattern in held if isinstance(held, dict) else ():
            patterns.setdefault(pattern, pointer_text((*at, "patternProperties", pattern)))
    if len(patterns) > limits.max_patterns:
        raise SchemaRefused(
            "",
            f"it has {len(patterns)} patterns, the limit is {limits.max_patterns}",
            "use 'enum', or check in the tool",
        )
    for pattern, where in patterns.items():
        if len(pattern) > limits.max_pattern_length:
            raise SchemaRefused(
                where,
                f"the pattern has {len(pattern)} characters, "
                f"the limit is {limits.max_pattern_length}",
                "use a shorter one, or check in the tool",
            )
        try:
            pattern_matcher(pattern)
        except jsonschema_rs.ValidationError:
            raise SchemaRefused(where, *_pattern_fault(pattern)) from None
    return len(patterns)


def _pattern_fault(pattern: str) -> tuple[str, str]:
    if any(sign in pattern for sign in ("(?=", "(?!", "(?<=", "(?<!")):
        return "look-around cannot be matched in linear time", "write the pattern without it"
    if _BACKREFERENCE.search(pattern):
        return "a backreference cannot be matched in linear time", "write the pattern without it"
    return (
        "the pattern is not a regular expression, or too large a one",
        "correct it, repeat less ('maxLength' counts characters too), or check in the tool",
    )


def _strip(schema: Node) -> set[str]:
    """The keywords used; removes those that only annotate, or would give the root another name."""
    mentions: set[str] = set()
    for _, node in subschemas(schema):
        mentions.update(node)
        if node.pop("contentEncoding", None) == "base64":
            mentions.add("base64")
        node.pop("contentMediaType", None)  # draft-07 engines check both
    schema.pop("$id", None)
    schema.pop("$schema", None)
    return mentions


def _allowing_bytes(schema: Node) -> Node:
    """The schema with the object that stands for bytes allowed where it says base64."""
    allowed = {"type": "object", "required": [_BYTES_KEY]}
    for _, node in list(subschemas(schema)):
        if node.get("type") == "string" and node.get("contentEncoding") == "base64":
            # A reference may name this place, so what names it stays outside.
            named = {key: node.pop(key) for key in list(node) if key in _NAMES}
            text = dict(node)
            node.clear()
            node.update(named, anyOf=[text, allowed])
    _strip(schema)
    return schema


def _bytes_replaced(value: object, depth: int, room: list[int], tell_apart: bool) -> object:
    """A copy with objects for bytes; a value too deep or large as is.

    With `tell_apart` they are equal just where the bytes are, at the price of a digest.
    """
    room[0] -= 1
    if isinstance(value, _BYTES):
        try:
            return {_BYTES_KEY: sha256(value).hexdigest() if tell_apart else ""}
        except (BufferError, ValueError):
            return value  # a released or scattered memoryview
    if depth < 0 or room[0] < 0:
        return value
    if type(value) is dict:
        return {
            key: _bytes_replaced(item, depth - 1, room, tell_apart) for key, item in value.items()
        }
    if type(value) is list or type(value) is tuple:
        return [_bytes_replaced(item, depth - 1, room, tell_apart) for item in value]
    return value


def _compile(validator: Any, schema: Any) -> Any:
    try:
        return validator(
            schema, pattern_options=PATTERN_OPTIONS, validate_formats=False, offline=True
        )
    except ValueError as error:
        message = getattr(error, "message", str(error))
        raise SchemaRefused("", shown(message), "correct the schema") from None


_COMPARING: Final = {"uniqueItems", "enum", "const"}
_BACKREFERENCE = re.compile(r"\\(?:[1-9]|k<)")
_NAMES = {"$anchor", "$dynamicAnchor", "$id", "$schema", "$defs", "definitions"}
# The drafts' own schemas are built into the engine: nothing is fetched.
_META: Final[dict[str, Any]] = {
    draft: _compile(validator, {"$ref": uri}) for uri, (draft, validator) in _DRAFTS.items()
}
