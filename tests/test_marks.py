"""Each value of a JSON or TOML document is found at its line and column."""

import json
import tomllib
from typing import Any

import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plughost.catalog.marks import Keys, Mark, Marks, json_marks, keys_of
from plughost.catalog.toml_marks import toml_marks

TOML = '''# A comment with [brackets] and "quotes"
title = "a # no comment"
"quoted key" = 'lite"ral'
a.b . c = 1

[table]  # behind a header
list = [ # in a list
  "one, two",
  [1, 2], { x = "}", y.z = 2 },
  """three
  "" lines \\""" more""",
]
when = 1979-05-27 07:32:00
text = \'\'\'
it's ] raw''\'\'\'
last = true

[[many]]
n = 1
[many.inner]
deep = -0.5
[[many]]
n = 2
[["odd.name".rows]]
r = {}
'''


def leaves(value: Any, keys: Keys = ()) -> list[tuple[Keys, Any]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*keys, key))]
    if isinstance(value, list):
        return [leaf for at, item in enumerate(value) for leaf in leaves(item, (*keys, at))]
    return [(keys, value)]


def at(text: str, mark: Mark) -> str:
    return text.splitlines()[mark.line - 1][mark.column - 1 :]


def test_each_value_of_a_toml_document_is_found() -> None:
    marks = toml_marks(TOML)
    document = tomllib.loads(TOML)
    for keys, value in leaves(document):
        found = at(TOML, marks.of(keys))
        if isinstance(value, str):
            assert found[0] in "\"'", (keys, found)
        elif isinstance(value, bool | int | float):
            assert found.startswith(json.dumps(value)), (keys, found)
    assert marks.of(("table", "list", 2, "y", "z")).line == 9
    assert marks.of(("many", 1, "n")) == Mark(23, 5)
    assert marks.of(("many", 0, "inner", "deep")) == Mark(21, 8)
    assert marks.of_key(("table", "when")) == Mark(13, 1)
    assert marks.of(("odd.name", "rows", 0, "r")) == Mark(25, 5)
    assert marks.of(("table", "missing")) == Mark(6, 1)


def check_json(text: str, document: Any) -> Marks:
    marks = json_marks(text)
    for keys, value in leaves(document):
        if len(keys) <= 8:
            read, _ = json.JSONDecoder().raw_decode(text, _offset(text, marks.of(keys)))
            assert read == value
    return marks


def _offset(text: str, mark: Mark) -> int:
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: mark.line - 1]) + mark.column - 1


NAMES = st.text(st.characters(codec="ascii"), max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES, st.sampled_from([None, 1]))
def test_each_value_of_any_json_document_is_found(document: Any, indent: int | None) -> None:
    check_json(json.dumps(document, indent=indent), document)


TOML_VALUES = st.recursive(
    st.booleans() | st.integers(-9, 99) | st.text(st.characters(codec="ascii"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, TOML_VALUES, max_size=4))
def test_each_value_of_any_toml_document_is_found(document: dict[str, Any]) -> None:
    text = tomlkit.dumps(document)
    marks = toml_marks(text)
    for keys, value in leaves(tomllib.loads(text)):
        found = text[_offset(text, marks.of(keys)) :]
        if isinstance(value, str):
            assert found[0] in "\"'", (keys, found)
        else:
            assert found.startswith(json.dumps(value)), (keys, found)


def test_what_is_deeper_than_a_manifest_goes_has_the_place_of_what_it_lies_in() -> None:
    text = "[" * 50 + "1" + "]" * 50
    assert json_marks(text).of((0,) * 49) == Mark(1, 9)


def test_a_key_that_is_there_twice_is_noticed() -> None:
    marks = json_marks('{"a": 1, "b": {"c": 1, "c": 2}, "a": 3, "d": [{"c": 1}, {"c": 1}]}')
    assert marks.twice == [("b", "c"), ("a",)]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("id", ("id",)),
        ("permissions[0].reason", ("permissions", 0, "reason")),
        ("limits.memory", ("limits", "memory")),
        ("", ()),
    ],
)
def test_a_place_in_a_sentence_is_read(text: str, keys: Keys) -> None:
    assert keys_of(text) == keys
