"""A hostile schema is refused, a hostile value is not accepted, and both engines agree."""

import math
import socket
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plughost.catalog.schema import CompiledSchema, SchemaLimits, SchemaProblem, SchemaRefused
from plughost.catalog.schema_explain import find_problems

_CALL = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["text"],
    "additionalProperties": False,
}
_BLOB = {"type": "string", "contentEncoding": "base64", "minLength": 4}


class Tree(msgspec.Struct):
    left: "Tree | None"
    right: "Tree | None"
    kids: list["Tree"] = []
    data: bytes = b""


def _nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


def _reasons(schema: Any, value: object) -> dict[str, str]:
    return {p.path: p.reason for p in CompiledSchema(schema).explain(value)}


def _refusal(schema: Any) -> SchemaRefused:
    with pytest.raises(SchemaRefused) as caught:
        CompiledSchema(schema)
    return caught.value


def test_a_value_that_fits_is_accepted_and_has_no_problems() -> None:
    compiled = CompiledSchema(_CALL)

    assert compiled.accepts({"text": "a", "count": 2})
    assert compiled.explain({"text": "a", "count": 2}) == []


def test_problems_name_the_key_and_come_sorted_by_path() -> None:
    assert CompiledSchema(_CALL).explain({"count": "x", "zeal": 1}) == [
        SchemaProblem("$.count", "must be an integer, not a string"),
        SchemaProblem("$.text", "is required"),
        SchemaProblem("$.zeal", "is not expected here"),
    ]


@pytest.mark.parametrize(
    ("schema", "value", "reason"),
    [
        ({"enum": ["a", 1]}, 2, "must be one of 'a', 1"),
        ({"const": 3}, 2, "must be 3"),
        ({"minimum": 3}, 2, "must be at least 3"),
        ({"exclusiveMaximum": 2}, 2, "must be less than 2"),
        ({"minLength": 1}, "", "must have at least 1 character"),
        ({"maxItems": 2}, [1, 2, 3], "must have at most 2 items"),
        ({"pattern": "^a$"}, "b", "must match the pattern '^a$'"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 1,
         "must be a string or null, not an integer"),
        ({"type": ["integer", "null"]}, True, "must be an integer or null, not a boolean"),
        (False, 1, "is not expected here"),
    ],
)  # fmt: skip
def test_the_common_keywords_have_sentences(schema: Any, value: object, reason: str) -> None:
    assert _reasons(schema, value) == {"$": reason}


def test_of_alternatives_the_one_of_the_same_type_is_explained() -> None:
    schema = {"anyOf": [{"type": "null"}, _CALL]}

    assert _reasons(schema, {"text": 1}) == {"$.text": "must be a string, not an integer"}


def test_long_and_control_characters_stay_out_of_sentences() -> None:
    problems = CompiledSchema({"additionalProperties": False}).explain({"\x1b[31m" + "x" * 999: 1})
    long = CompiledSchema({"enum": ["\x1b" * 500]}).explain(1)

    assert all(p.path.isprintable() and len(p.path) <= 90 for p in problems)
    assert all(p.reason.isprintable() and len(p.reason) <= 80 for p in long)


def test_at_most_twenty_problems_are_given() -> None:
    assert len(CompiledSchema({"items": {"type": "null"}}).explain([1] * 500)) == 20


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"x", "not JSON: bytes at $.data"),
        (object(), "not JSON: object at $.data"),
        ({1}, "not JSON: set at $.data"),
        (math.nan, "not JSON: nan at $.data"),
        (-math.inf, "not JSON: -inf at $.data"),
        (2**64, "not JSON: an integer of more than 64 bits at $.data"),
        ({1: 2}, "not JSON: a key that is int at $.data"),
        ("\ud800", "not JSON: a string with half a surrogate pair at $.data"),
        (Tree(None, None), "not JSON: Tree at $.data"),
    ],
)
def test_what_is_not_json_is_refused_even_where_the_schema_does_not_look(
    value: object, reason: str
) -> None:
    compiled = CompiledSchema({"type": "object"})

    assert not compiled.accepts({"data": value})
    assert compiled.explain({"data": value}) == [SchemaProblem("$.data", reason)]


def test_tuples_are_arrays() -> None:
    compiled = CompiledSchema({"type": "array", "items": {"type": "integer"}})

    assert compiled.accepts((1, 2))
    assert [p.path for p in compiled.explain((1, "x"))] == ["$[1]"]


@pytest.mark.parametrize("schema", [True, _BLOB, {"items": {"$ref": "#"}}])
def test_a_value_nested_without_end_is_refused(schema: Any) -> None:
    compiled = CompiledSchema(schema)
    loop: list[Any] = []
    loop.append(loop)
    laughs: Any = []
    for _ in range(60):
        laughs = [laughs, laughs]

    for value in (_nested(100_000, 1), _nested(100_000, b""), loop):
        assert not compiled.accepts(value)
        assert compiled.explain(value) == [SchemaProblem("$", "is nested more than 64 levels deep")]
    assert not compiled.accepts(laughs)
    assert "too large" in compiled.explain(laughs)[0].reason


def test_the_deepest_value_passes_the_longest_chain_of_references() -> None:
    chain = {f"n{i}": {"allOf": [{"$ref": f"#/$defs/n{i + 1}"}]} for i in range(10)}
    compiled = CompiledSchema(
        {"$ref": "#/$defs/n0", "$defs": {**chain, "n10": {"items": {"$ref": "#/$defs/n0"}}}}
    )

    assert compiled.accepts(_nested(64, 1))


def test_bytes_are_accepted_where_the_schema_says_base64_and_not_elsewhere() -> None:
    compiled = CompiledSchema(
        {"properties": {"blob": _BLOB, "text": {"type": "string"}, "one": {"type": "integer"}}}
    )

    for blob in (b"", bytearray(b"x"), memoryview(b"x")):
        assert compiled.accepts({"blob": blob})
    assert not compiled.accepts({"blob": ""})
    assert not compiled.accepts({"text": b"x"})
    assert [*compiled.explain({"one": b""})] == [
        SchemaProblem("$.one", "must be an integer, not bytes")
    ]


def test_an_object_does_not_pass_for_bytes() -> None:
    assert not CompiledSchema(_BLOB).accepts({"bytes": "00"})


def test_formats_are_not_checked() -> None:
    compiled = CompiledSchema({"format": "date-time", "contentMediaType": "application/json"})

    assert compiled.accepts("{")


def test_the_schemas_of_msgspec_are_accepted() -> None:
    compiled = CompiledSchema(msgspec.json.schema(Tree))

    tree = {"left": None, "right": None}
    assert compiled.accepts({"left": tree, "right": tree, "kids": [tree], "data": b"x"})
    assert not compiled.accepts({"left": tree, "right": {**tree, "left": 1}})


def test_the_schema_given_is_kept_as_plain_data() -> None:
    given: dict[str, Any] = {"$id": "https://example.org/a", "enum": [1]}
    compiled = CompiledSchema(given)
    given["enum"].append(2)

    assert compiled.schema == {"$id": "https://example.org/a", "enum": [1]}


def test_a_fast_pattern_for_a_slow_engine_takes_no_time() -> None:
    compiled = CompiledSchema({"patternProperties": {"^(a+)+$": False}, "pattern": "^(a|a)*$"})
    evil = "a" * 50_000 + "b"

    assert not compiled.accepts(evil)
    assert compiled.accepts({evil: 1})
    assert compiled.explain(evil)[0].reason == "must match the pattern '^(a|a)*$'"


def test_much_text_is_not_held_against_patterns() -> None:
    compiled = CompiledSchema({"pattern": "[ab]*a[ab]{500}[cd]"})

    assert "too many for patterns" in compiled.explain("ab" * 500_000)[0].reason


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)b", "look-around"),
        (r"(a)\1", "backreference"),
        ("(a{1000}){1000}", "too large"),
        ("(" * 400 + ")" * 400, "too large"),
        ("(", "not a regular expression"),
        ("a" * 1001, "1001 characters"),
    ],
)
def test_a_pattern_that_cannot_be_linear_and_small_is_refused(pattern: str, reason: str) -> None:
    refusal = _refusal({"properties": {"a": {"pattern": pattern}}})

    assert refusal.path == "/properties/a/pattern"
    assert reason in refusal.reason
    assert _refusal({"patternProperties": {pattern: {}}}).path.startswith("/patternProperties/")


def test_many_patterns_are_refused() -> None:
    assert "65 patterns" in _refusal({"patternProperties": {f"^{i}": {} for i in range(65)}}).reason


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:1/x", "file:///etc/passwd", "other.json", "#/$defs/no", "#no"]
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_a_reference_that_leaves_the_schema_or_leads_nowhere_is_refused(
    keyword: str, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connect(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", connect)

    assert _refusal({"items": {keyword: reference}}).path == f"/items/{keyword}"


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "https://example.org/mine"},
        {"items": {"$id": "https://example.org/a"}},
        {"items": {"$schema": "https://json-schema.org/draft/2020-12/schema"}},
        {"type": "text"},
        {"minLength": -1},
        {"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}},
        {"const": b"x"},
        {"const": math.nan},
        [],
    ],
)
def test_what_is_not_a_schema_of_its_own_is_refused(schema: Any) -> None:
    assert str(_refusal(schema)).startswith("the schema is refused at ")


def test_anchors_and_older_drafts_are_accepted() -> None:
    anchored = {"$defs": {"a": {"$anchor": "x", "type": "null"}}, "$ref": "#x"}
    older = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"a": {"type": "null"}},
        "items": [{"$ref": "#/definitions/a"}],
    }

    assert not CompiledSchema(anchored).accepts(1)
    assert not CompiledSchema(older).accepts([1])
    assert CompiledSchema(older).accepts([None, 1])


def test_a_schema_deep_wide_or_long_is_refused_before_anything_recurses() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"not": deep}

    assert "nested more than 32" in _refusal(deep).reason
    assert "too large" in _refusal({"enum": list(range(2001))}).reason
    assert "bytes" in _refusal({"description": "x" * 70_000}).reason
    with pytest.raises(SchemaRefused):
        CompiledSchema(_CALL, SchemaLimits(max_bytes=10))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": {"$ref": "#/$defs/a"}}},
         "$ref": "#/$defs/a"},
        {"$dynamicAnchor": "x", "if": {"$dynamicRef": "#x"}},
        {"$recursiveRef": "#", "$schema": "https://json-schema.org/draft/2019-09/schema"},
    ],
)  # fmt: skip
def test_a_reference_to_itself_for_the_same_value_is_refused(schema: Any) -> None:
    assert "without end" in _refusal(schema).reason


def _twice(name: str) -> list[dict[str, str]]:
    return [{"$ref": f"#/$defs/{name}"}] * 2


@pytest.mark.parametrize(
    "schema",
    [
        {"$defs": {**{f"n{i}": {"anyOf": _twice(f"n{i + 1}")} for i in range(11)},
                   "n11": {"anyOf": [{"type": "null"}] * 9}}, "$ref": "#/$defs/n0"},
        {"$defs": {**{f"n{i}": {"properties": {"a": {"allOf": _twice(f"n{i + 1}")}}}
                      for i in range(20)}, "n20": {}}, "$ref": "#/$defs/n0"},
        {"properties": {"next": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
        {"properties": {"a": {"$ref": "#"}}, "patternProperties": {"^a": {"$ref": "#"}}},
        {"items": {"$ref": "#"}, "contains": {"$ref": "#"}},
        {"allOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]},
        {"unevaluatedProperties": {"$ref": "#"}, "allOf": [{"properties": {"a": {"$ref": "#"}}}]},
    ],
)  # fmt: skip
def test_a_schema_that_doubles_its_work_is_refused(schema: Any) -> None:
    assert "steps" in _refusal(schema).reason


def test_unevaluated_below_unevaluated_is_counted_twice_at_each_level() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(14):
        schema = {"allOf": [schema], "unevaluatedProperties": False}

    assert "steps" in _refusal(schema).reason


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/n", "$defs": {"n": {"properties": {
            "left": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]},
            "right": {"$ref": "#/$defs/n"}}}}},
        {"items": {"$ref": "#"}, "properties": {"a": {"$ref": "#"}}},
        {"additionalProperties": {"$ref": "#"}, "properties": {"a": {"$ref": "#"}}},
        {"allOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"b": {"$ref": "#"}}}]},
        {"$defs": {"a": {"properties": {"x": {"$ref": "#/$defs/b"}, "y": {"$ref": "#/$defs/a"}}},
                   "b": {"properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/b"}}}},
         "$ref": "#/$defs/a"},
    ],
)  # fmt: skip
def test_ordinary_recursive_schemas_are_accepted(schema: Any) -> None:
    assert CompiledSchema(schema).accepts({"left": {"left": None}})


@pytest.mark.parametrize(
    "schema",
    [
        {"uniqueItems": True, "maxItems": 1},
        {"anyOf": [{"items": {"type": "string"}}, {"type": "null"}]},
        {"items": {"type": "string"}},
    ],
)
def test_a_large_value_is_explained_in_bounded_work(schema: Any) -> None:
    compiled = CompiledSchema(schema)
    value = [{"a": [i]} if i % 2 else [i] for i in range(30_000)]

    assert len(compiled.explain(value)) == 1


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab\n", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=6,
)
_LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["null", "integer", "number", "string", "array", "object"]),
        "enum": st.lists(_VALUES, min_size=1, max_size=3),
        "minimum": st.integers(-5, 5),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "b$", "^(a+)+$", r"^\w*$", "."]),
        "required": st.lists(st.sampled_from("ab"), unique=True),
        "uniqueItems": st.booleans(),
    },
)
_SCHEMAS = st.recursive(
    st.booleans() | _LEAVES,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("ab"), inner),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner),
            "additionalProperties": inner,
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "if": inner,
            "then": inner,
        },
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, database=None)
@given(_SCHEMAS, _VALUES)
def test_the_two_engines_agree(schema: Any, value: Any) -> None:
    compiled = CompiledSchema(schema)
    problems = find_problems(schema, "2020-12", value, "")

    assert compiled.accepts(value) is (not problems)
    assert bool(compiled.explain(value)) is not compiled.accepts(value)


@settings(max_examples=60, deadline=None, database=None)
@given(st.recursive(_SCHEMAS | st.just({"$ref": "#"}) | st.binary() | st.integers(),
                    lambda inner: st.dictionaries(
                        st.sampled_from(["$ref", "items", "allOf", "$defs", "type", "properties"]),
                        inner | st.lists(inner), max_size=4)))  # fmt: skip
def test_a_mangled_schema_is_refused_or_compiled(schema: Any) -> None:
    try:
        compiled = CompiledSchema(schema)
    except SchemaRefused:
        return
    assert compiled.accepts([{}]) is (compiled.explain([{}]) == [])
