"""How arguments are read: by the signs in them, and by the tool's schema."""

from pathlib import Path
from typing import Any

import pytest

from plughost.management.arguments import parse_arguments
from plughost.management.problems import CommandFailed

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "whole": {"type": "integer"},
        "number": {"type": "number"},
        "flag": {"type": "boolean"},
        "list": {"type": "array"},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"type": ["integer", "string"]},
        "level": {"enum": [1, 2, 3]},
        "named": {"$ref": "#/$defs/Whole"},
        "one_of": {"oneOf": [{"$ref": "#/$defs/Whole"}, {"type": "boolean"}]},
        "round": {"$ref": "#/$defs/Round"},
        "data": {"type": "string", "contentEncoding": "base64"},
        "any": {},
    },
    "$defs": {"Whole": {"type": "integer"}, "Round": {"$ref": "#/$defs/Round"}},
}


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("text=5", "5"),
        ("text=", ""),
        ("text=a=b:=c@d", "a=b:=c@d"),
        ("whole=-5", -5),
        ("number=5", 5),
        ("number=2.5e3", 2500.0),
        ("flag=True", True),
        ("flag=false", False),
        ("list:=[1]", [1]),
        ("maybe=null", None),
        ("maybe=4", 4),
        ("either=4", "4"),
        ("level=2", 2),
        ("named=7", 7),
        ("one_of=true", True),
        ("one_of=7", 7),
        ("round=7", "7"),
        ("any=7", "7"),
        ("any:=7", 7),
        ("data=AP8=", "AP8="),
        ("unknown=x", "x"),
    ],
)
def test_a_value_takes_the_type_that_its_property_declares(argument: str, value: Any) -> None:
    (found,) = parse_arguments([argument], None, SCHEMA, "demo.tool").values()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("whole=5.0", "whole must be an integer, not '5.0'"),
        ("whole=99999999999999999999", "must be an integer"),
        ("number=nan", "number must be a number"),
        ("number=inf", "number must be a number"),
        ("flag=1", "flag must be a boolean, not '1'"),
        ("list=1", "list must be an array"),
        ("maybe=x", "maybe must be an integer or null"),
        ("any:=[", "any is not JSON"),
        ("nothing", "'nothing' is no argument"),
        ("=x", "'=x' is no argument"),
        ("text@/nowhere/at/all", "cannot be read"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_a_sentence(argument: str, told: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        parse_arguments([argument], None, SCHEMA, "demo.tool")
    assert told in caught.value.problem.what
    assert caught.value.problem.exit_code == 2


@pytest.mark.parametrize("whole", ["[1]", "{", "@/nowhere/at/all", "1"])
def test_args_must_be_a_json_object(whole: str) -> None:
    with pytest.raises(CommandFailed):
        parse_arguments([], whole, SCHEMA, "demo.tool")


def test_single_arguments_stand_over_those_in_args(tmp_path: Path) -> None:
    found = parse_arguments(["whole=2"], '{"whole": 1, "any": 1}', SCHEMA, "demo.tool")
    assert found == {"whole": 2, "any": 1}
    (tmp_path / "args").write_text('{"any": 3}')
    assert parse_arguments([], f"@{tmp_path}/args", SCHEMA, "demo.tool") == {"any": 3}


def test_a_file_is_bytes_where_the_schema_says_so_and_text_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    found = parse_arguments([f"data@{file}", f"any@{file}"], None, SCHEMA, "demo.tool")
    assert found == {"data": b"abc", "any": "abc"}


@pytest.mark.parametrize("schema", [{"properties": 3}, {"properties": {"a": 5}}, {"$defs": []}])
def test_a_schema_that_is_none_converts_nothing(schema: dict[str, Any]) -> None:
    assert parse_arguments(["a=1"], None, schema, "demo.tool") == {"a": "1"}
