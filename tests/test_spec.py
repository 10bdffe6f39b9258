"""SPEC.md says what the code does, and nothing else: its tables and examples are read here."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import pytest
from msgspec import Raw
from msgspec import inspect as types

import plughost_protocol
from plughost_protocol import (
    EXIT_OUT_OF_MEMORY,
    HEADER_SIZE,
    LOG_TOPIC,
    MAX_CHUNK,
    MAX_FRAME,
    MAX_LOG_RECORD,
    MAX_VALUES,
    TOOL_PREFIX,
    VERSIONS,
    Ack,
    Call,
    CallMeta,
    CodePlace,
    Description,
    Error,
    ErrorCode,
    ExecuteTool,
    Failure,
    FrameDecoder,
    Hello,
    LoadPlugin,
    LogRecord,
    Message,
    ProtocolError,
    Result,
    ToolSpec,
    UnregisterTool,
    VersionMismatch,
    WireLimits,
    contract,
    decode_message,
    encode,
    negotiate,
)

_SPEC: Final = (Path(__file__).parent.parent / "protocol" / "SPEC.md").read_text(encoding="utf-8")
_MESSAGES: Final[tuple[type[msgspec.Struct], ...]] = get_args(Message)
_ARRAYS: Final[tuple[type[msgspec.Struct], ...]] = (*_MESSAGES, CallMeta, WireLimits)
_MAPS: Final[tuple[type[msgspec.Struct], ...]] = (
    ToolSpec,
    Description,
    LoadPlugin,
    UnregisterTool,
    ExecuteTool,
    LogRecord,
    CodePlace,
    Failure,
)
_STRUCTS: Final[tuple[type[msgspec.Struct], ...]] = (*_ARRAYS, *_MAPS)


# Reading the page.


def _sections() -> dict[str, str]:
    """The text under each heading, up to the next heading of any level."""
    parts = re.split(r"^#+ (.+)$", _SPEC, flags=re.MULTILINE)
    titles = [title.strip("`") for title in parts[1::2]]
    assert len(set(titles)) == len(titles), "two headings alike"
    return dict(zip(titles, parts[2::2], strict=True))


_TEXT: Final = _sections()


def _tables(title: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """The head and the rows of each table in a section."""
    for block in re.findall(r"(?:^\|.*\n)+", _TEXT[title], re.MULTILINE):
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        ]
        assert {len(line) for line in lines} == {len(lines[0])}, f"a ragged table in {title}"
        yield lines[0], lines[2:]


def _rows(title: str, *head: str) -> list[list[str]]:
    """The rows of the one table in a section whose first columns are these."""
    (rows,) = (rows for columns, rows in _tables(title) if columns[: len(head)] == list(head))
    return rows


def _bare(cells: list[str]) -> list[str]:
    return [cell.strip("`") for cell in cells]


def _frames(title: str) -> list[tuple[str, bytes, Any]]:
    """Who sends it, the payload, and its meaning, of each frame that a section shows."""
    found = []
    for block in re.findall(r"^```frames\n(.*?)^```", _TEXT[title], re.MULTILINE | re.DOTALL):
        for sender, data, meaning in re.findall(
            r"^(\w+) +([0-9a-f \n]+?)\n +(\[.*\])$", block, re.MULTILINE
        ):
            decoder = FrameDecoder()
            (payload,) = decoder.feed(bytes.fromhex("".join(data.split())))
            assert decoder.is_idle
            found.append((sender, payload, json.loads(meaning)))
        assert block.count("[") >= len(found) > 0
    return found


# What the tables should say.


def _number(value: float) -> str:
    size = int(value) + 1
    if size >= 2**16 and size & (size - 1) == 0:
        return f"2^{size.bit_length() - 1}-1"
    return f"{int(value):,}"


def _type(type_: types.Type) -> str:
    match type_:
        case types.IntType():
            return "int"
        case types.FloatType():
            return "float"
        case types.BoolType():
            return "bool"
        case types.StrType() | types.LiteralType():
            return "str"
        case types.NoneType():
            return "nil"
        case types.RawType():
            return "any"
        case types.StructType(cls=cls):
            return f"`{cls.__name__}`"
        case types.ListType(item_type=item):
            return f"array of {_type(item)}"
        case types.DictType(value_type=types.AnyType()):
            return "map"
        case types.DictType(value_type=value):
            return f"map of {_type(value)}"
        case types.UnionType(types=members):
            *names, last = map(_type, members)
            return f"{', '.join(names)} or {last}"
    raise NotImplementedError(type_)


def _bounds(type_: types.Type) -> str:
    match type_:
        case types.IntType(ge=int(low), lt=lt, le=le):
            return f"{low} to {_number(le if le is not None else (lt or 0) - 1)}"
        case types.FloatType(gt=low, le=high) if low is not None and high is not None:
            return f"over {low}, up to {_number(high)}"
        case types.StrType(min_length=least, max_length=int(most), pattern=pattern):
            length = f"{least} to {_number(most)}" if least else f"up to {_number(most)}"
            return f"{length} characters{', a tool name' if pattern else ''}"
        case types.LiteralType(values=values):
            return f"one of {', '.join(f'`{value}`' for value in values)}"
        case types.UnionType(types=members):
            return "".join(map(_bounds, members))
    return ""


def _default(field: types.Field) -> str:
    if field.required:
        return "required"
    default = field.default
    if default is msgspec.NODEFAULT:
        return {dict: "{}", list: "[]"}[field.default_factory]
    if isinstance(default, Raw):
        default = msgspec.msgpack.decode(default)
    if isinstance(default, CallMeta):
        return "all defaults" if default == CallMeta() else repr(default)
    return "nil" if default is None else json.dumps(default)


def _fields(cls: type[msgspec.Struct]) -> tuple[types.Field, ...]:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    return info.fields


# Messages and structs.


def test_every_message_stands_in_the_table_with_its_tag_and_no_other_does() -> None:
    rows = [_bare(row[:2]) for row in _rows("Messages", "tag", "message")]
    tags = {int(str(cls.__struct_config__.tag)): cls.__name__ for cls in _MESSAGES}
    assert rows == [[str(tag), tags[tag]] for tag in sorted(tags)]


@pytest.mark.parametrize("cls", _ARRAYS)
def test_every_element_of_an_array_stands_in_its_table(cls: type[msgspec.Struct]) -> None:
    first = 1 if cls in _MESSAGES else 0
    assert [row[:5] for row in _rows(cls.__name__, "#", "field")] == [
        [
            str(place),
            f"`{field.name}`",
            _type(field.type),
            _bounds(field.type),
            _default(field),
        ]
        for place, field in enumerate(_fields(cls), first)
    ]


@pytest.mark.parametrize("cls", _MAPS)
def test_every_key_of_a_map_stands_in_its_table(cls: type[msgspec.Struct]) -> None:
    assert [row[:4] for row in _rows(cls.__name__, "key", "type")] == [
        [f"`{field.name}`", _type(field.type), _bounds(field.type), _default(field)]
        for field in _fields(cls)
    ]


@pytest.mark.parametrize("cls", _MAPS)
def test_the_page_says_what_becomes_of_unknown_keys(cls: type[msgspec.Struct]) -> None:
    forbidden = cls.__struct_config__.forbid_unknown_fields
    words = "Unknown keys are refused." if forbidden else "Unknown keys are ignored."
    assert words in _TEXT[cls.__name__]


def test_there_is_no_field_table_for_what_the_package_does_not_have() -> None:
    described = {
        title
        for title in _TEXT
        for columns, _ in _tables(title)
        if columns[:2] in (["#", "field"], ["key", "type"])
    }
    assert described == {cls.__name__ for cls in _STRUCTS}


def test_every_struct_of_the_package_is_described() -> None:
    public = [getattr(plughost_protocol, name) for name in plughost_protocol.__all__]
    structs = {
        item for item in public if isinstance(item, type) and issubclass(item, msgspec.Struct)
    }
    assert structs == set(_STRUCTS)


# Names and numbers.


def test_every_method_stands_in_the_table_and_no_other_does() -> None:
    names = {
        value
        for name, value in vars(contract).items()
        if name.isupper() and isinstance(value, str) and name != "LOG_TOPIC"
    }
    assert TOOL_PREFIX in names
    rows = [_bare(row[:1])[0] for row in _rows("Methods", "method")]
    assert sorted(rows) == sorted(names)
    assert [_bare(row[:1])[0] for row in _rows("Methods", "topic")] == [LOG_TOPIC]


def test_every_struct_that_a_method_takes_or_gives_is_named_in_the_table() -> None:
    cells = " ".join(" ".join(row) for _, rows in _tables("Methods") for row in rows)
    named = set(re.findall(r"`([A-Z]\w+)`", cells))
    assert named == {cls.__name__ for cls in _MAPS if cls not in (CodePlace, Failure)}


def test_every_error_code_stands_in_the_table_and_no_other_does() -> None:
    assert [_bare(row[:1])[0] for row in _rows("Error codes", "code")] == sorted(ErrorCode)


def test_every_code_that_the_text_names_exists() -> None:
    named = set(re.findall(r"`Error` `(\w+)`|[Aa]nswers? (?:with )?`(\w+)`", _SPEC))
    codes = {
        code for pair in named for code in pair if code and not hasattr(plughost_protocol, code)
    }
    assert codes
    assert codes <= set(ErrorCode)


def test_every_limit_stands_in_the_table_and_no_other_does() -> None:
    limits = {
        "bytes of a frame's header": HEADER_SIZE,
        "bytes of a frame's payload": MAX_FRAME,
        "bytes of a chunk's value": MAX_CHUNK,
        "bytes of a `LogRecord`": MAX_LOG_RECORD,
        "values in one message": MAX_VALUES,
        "oldest version": VERSIONS[0],
        "newest version": VERSIONS[1],
    }
    rows = {name: int(value.replace(",", "")) for name, value in _rows("Limits", "limit")}
    assert rows == limits
    numbers = {
        value
        for name in plughost_protocol.__all__
        if name.isupper() and isinstance(value := getattr(plughost_protocol, name), int)
    }
    assert numbers == {*limits.values(), EXIT_OUT_OF_MEMORY} - set(VERSIONS)


def test_every_bounded_text_stands_in_the_table_with_its_length() -> None:
    lengths = {
        f"`{cls.__name__}.{field.name}`": f"{field.type.max_length:,}"
        for cls in _STRUCTS
        for field in _fields(cls)
        if isinstance(field.type, types.StrType) and field.type.max_length
    }
    assert dict(_rows("Limits", "text")) == lengths


def test_the_exit_status_of_a_worker_without_memory_stands_in_the_table() -> None:
    assert str(EXIT_OUT_OF_MEMORY) in [row[0] for row in _rows("Life of a worker", "exit status")]


def test_the_sizes_in_the_text_are_those_of_the_code() -> None:
    assert f"16 MiB ({MAX_FRAME:,} bytes)" in _SPEC
    assert f"1 MiB ({MAX_CHUNK:,} bytes)" in _SPEC
    assert f"At most {MAX_VALUES:,} values" in _SPEC
    assert f"a header of {HEADER_SIZE} bytes" in _SPEC
    low, high = VERSIONS
    assert low == high
    assert _SPEC.startswith(f"# The plughost protocol, version {high}\n")


def test_the_table_of_versions_is_what_negotiation_gives() -> None:
    rows = _rows("Versions", "worker speaks", "host speaks")
    assert rows
    for worker, host, outcome in rows:
        ranges = [
            (int(low), int(high)) for low, high in (re.findall(r"\d+", t) for t in (worker, host))
        ]
        if outcome.startswith("none: "):
            with pytest.raises(VersionMismatch, match=outcome.removeprefix("none") + "$"):
                negotiate(*ranges)
        else:
            assert str(negotiate(*ranges)) == outcome


# Examples.


@pytest.mark.parametrize("cls", _MESSAGES)
def test_the_example_of_a_message_is_that_message(cls: type[msgspec.Struct]) -> None:
    ((sender, payload, meaning),) = _frames(cls.__name__)
    message = decode_message(payload)
    assert type(message) is cls
    assert encode(message) == payload
    assert msgspec.msgpack.decode(payload) == meaning
    (sent_by,) = (row[2] for row in _rows("Messages", "tag") if row[1] == f"`{cls.__name__}`")
    assert sent_by in (sender, "either", "the caller", "the side that was called")


def _conversation() -> list[tuple[str, Message]]:
    return [(sender, decode_message(payload)) for sender, payload, _ in _frames("A conversation")]


def test_the_conversation_means_what_stands_below_its_bytes() -> None:
    frames = _frames("A conversation")
    lines = re.findall(r"^(?:worker|host) ", _TEXT["A conversation"], re.MULTILINE)
    assert len(frames) == len(lines)
    for _, payload, meaning in frames:
        assert msgspec.msgpack.decode(payload) == meaning
        assert encode(decode_message(payload)) == payload


def test_in_the_conversation_every_call_has_one_outcome_and_an_ack_before_it() -> None:
    conversation = _conversation()
    assert isinstance(conversation[0][1], Hello)
    open_calls: set[tuple[str, int]] = set()
    seen: list[tuple[str, int]] = []
    acked = 0
    for sender, message in conversation:
        other = "host" if sender == "worker" else "worker"
        match message:
            case Call(id=id):
                assert id == 1 + sum(caller == sender for caller, _ in seen)
                seen.append((sender, id))
                open_calls.add((sender, id))
            case Ack(id=id):
                assert sender == "worker"
                assert (other, id) in open_calls
                acked = id
            case Result(id=id) | Error(id=id):
                open_calls.remove((other, id))
                assert other == "worker" or id <= acked
    assert seen
    assert not open_calls


def test_the_conversation_shows_every_type_of_message() -> None:
    assert {type(message) for _, message in _conversation()} == set(_MESSAGES)


def test_the_description_and_the_log_record_of_the_conversation_are_valid() -> None:
    (result,) = (
        m for s, m in _conversation() if s == "worker" and isinstance(m, Result) and m.id == 1
    )
    assert len(msgspec.msgpack.decode(result.value, type=Description).tools) == 2


def test_links_lead_to_headings() -> None:
    anchors = {title.lower().replace(" ", "-") for title in _TEXT}
    links = set(re.findall(r"\]\(#([^)]+)\)", _SPEC))
    assert links
    assert links <= anchors


def test_the_oversized_header_of_the_violations_is_refused() -> None:
    (header,) = re.findall(r"a header of `([0-9a-f]{8})`, 4,000,000,000 bytes", _SPEC)
    assert int(header, 16) == 4_000_000_000
    with pytest.raises(ProtocolError):
        FrameDecoder().feed(bytes.fromhex(header))
