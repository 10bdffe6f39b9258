"""The frames in protocol/vectors: a worker in another language is tested with them too.

`python tests/test_vectors.py` writes valid.json anew from the messages below; the other files
are written by hand.
"""

import datetime
import itertools
import json
import re
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from msgspec import Raw

import plughost_protocol
from plughost_protocol import (
    MAX_FRAME,
    Ack,
    Call,
    CallMeta,
    Cancel,
    Chunk,
    Credit,
    Error,
    FrameDecoder,
    FrameTooLarge,
    Hello,
    MalformedMessage,
    Message,
    Notify,
    Ping,
    Pong,
    Progress,
    Result,
    Welcome,
    WireLimits,
    decode_message,
    decode_value,
    encode,
    frame_header,
)

_PROTOCOL: Final = Path(__file__).parent.parent / "protocol"
_VECTORS: Final = _PROTOCOL / "vectors"

_MOST: Final = 2**63 - 1
_NIL: Final = Raw(encode(None))
_EMPTY: Final = Raw(encode({}))
_MOMENT: Final = datetime.datetime(2026, 11, 21, 10, 0, 0, 500_000, tzinfo=datetime.UTC)
_ANYTHING: Final[list[Any]] = [
    None,
    True,
    False,
    -1,
    2**64 - 1,
    -(2**63),
    0.5,
    "é",
    b"\x00\xff",
    _MOMENT,
    {},
]
_VALUES: Final[dict[str, Any]] = {
    "nil": None,
    "an int of 1 byte": 127,
    "a negative int of 1 byte": -32,
    "uint 8": 255,
    "uint 16": 65_535,
    "uint 32": 2**32 - 1,
    "uint 64": 2**64 - 1,
    "int 8": -128,
    "int 16": -(2**15),
    "int 32": -(2**31),
    "int 64": -(2**63),
    "float 64": 0.1,
    "fixstr": "x" * 31,
    "str 8": "x" * 255,
    "str 16": "x" * 256,
    "str 32": "x" * 65_536,
    "bin 8": bytes(255),
    "bin 16": bytes(256),
    "bin 32": bytes(65_536),
    "fixarray": [0] * 15,
    "array 16": [0] * 16,
    "array 32": [0] * 65_536,
    "fixmap": {"k": {}},
    "map 16": {f"k{number:02}": number for number in range(16)},
    "a timestamp": _MOMENT,
    "a timestamp before 1970": datetime.datetime(1969, 12, 31, tzinfo=datetime.UTC),
    "one of each": _ANYTHING,
}
_MESSAGES: Final[dict[str, Message]] = {
    "Hello, least": Hello(0, 0, "", ""),
    "Hello, full": Hello(1, 1, "Lua 5.4", "lua-plughost 0.1"),
    "Hello, at its bounds": Hello(65_535, 65_535, "x" * 100, "é" * 100),
    "Welcome, least": Welcome(1, "", "", {}, {}, [], WireLimits(1, 1, 1)),
    "Welcome, full": Welcome(
        1,
        "/plugins/weather",
        "plugin.py",
        {"id": "weather", "permissions": ["http:outbound:api.example.com"]},
        {"units": "metric", "cities": [{"name": "Oslo", "lat": 59.9}]},
        ["http:outbound:api.example.com", "tools:register"],
        WireLimits(MAX_FRAME, 64, 8),
    ),
    "Call, least": Call(1, "m", _NIL),
    "Call, full": Call(
        2,
        "tool:get_weather",
        Raw(encode({"location": "Oslo"})),
        CallMeta(30_000, 7, 16, "agent", "ada", "r-1", f"00-{'ab' * 16}-{'cd' * 8}-01"),
    ),
    "Call, at its bounds": Call(
        _MOST,
        "é" * 200,
        Raw(encode(_ANYTHING)),
        CallMeta(2**53 - 1, _MOST, 2**31 - 1, "x" * 2000, "x" * 1000, "x" * 1000, "x" * 1000),
    ),
    "Ack, least": Ack(1),
    "Ack, at its bound": Ack(_MOST),
    "Result, least": Result(1, _NIL),
    "Result, at its bound": Result(_MOST, _EMPTY),
    **{f"Result, {name}": Result(1, Raw(encode(value))) for name, value in _VALUES.items()},
    "Error, least": Error(1, "x", ""),
    "Error, full": Error(
        2,
        "permission_denied",
        "the plugin may not do this",
        Raw(encode({"type": "PermissionDenied", "permission": "storage:read"})),
    ),
    "Error, at its bounds": Error(_MOST, "x" * 100, "x" * 100_000, Raw(encode(_ANYTHING))),
    "Cancel, least": Cancel(1),
    "Cancel, at its bound": Cancel(_MOST),
    "Progress, least": Progress(1, 0.0),
    "Progress, full": Progress(2, 2.5, 10.0, "reading"),
    "Progress, at its bounds": Progress(_MOST, -1e308, 1e308, "x" * 1000),
    "Chunk, least": Chunk(1, _NIL),
    "Chunk, full": Chunk(2, Raw(encode(b"\x00\x01\x02"))),
    "Chunk, at its bound": Chunk(_MOST, _EMPTY),
    "Credit, least": Credit(1, 1),
    "Credit, at its bounds": Credit(_MOST, 2**31 - 1),
    "Notify, least": Notify("t", _NIL),
    "Notify, full": Notify(
        "log",
        Raw(encode({"level": "info", "message": "ready", "fields": {"tools": 2, "ok": True}})),
    ),
    "Notify, at its bound": Notify("é" * 200, _EMPTY),
    "Ping, least": Ping(0),
    "Ping, at its bound": Ping(_MOST),
    "Pong, least": Pong(0),
    "Pong, at its bound": Pong(_MOST),
}
# Bytes that our encoder does not write, and what they mean all the same.
_ALSO_TAKEN: Final[dict[str, tuple[bytes, Message]]] = {
    "Call without meta": (b"\x94\x03\x01\xa1m\xc0", Call(1, "m", _NIL)),
    "Call with an empty meta": (b"\x95\x03\x01\xa1m\xc0\x90", Call(1, "m", _NIL)),
    "Call with a short meta": (
        b"\x95\x03\x01\xa1m\xc0\x92\x05\x02",
        Call(1, "m", _NIL, CallMeta(5, 2)),
    ),
    "Error without data": (b"\x94\x06\x01\xa1x\xa0", Error(1, "x", "")),
    "Progress with done alone": (b"\x93\x08\x01\xca\x3f\x00\x00\x00", Progress(1, 0.5)),
    "Progress in whole numbers": (b"\x95\x08\x01\x05\x0a\xa0", Progress(1, 5.0, 10.0)),
    "Progress without a total": (b"\x95\x08\x01\x05\xc0\xa1x", Progress(1, 5.0, None, "x")),
    "Ping in the widest formats": (
        b"\xdd\x00\x00\x00\x02\xd3" + (12).to_bytes(8, "big") + b"\xcf" + (1).to_bytes(8, "big"),
        Ping(1),
    ),
    "Notify with a topic in str 32": (b"\x93\x0b\xdb\x00\x00\x00\x01t\xc0", Notify("t", _NIL)),
    "Welcome with a limit from a later version": (
        b"\x98\x02\x01\xa0\xa0\x80\x80\x90\x95\x01\x01\x01\xa4info\x01",
        Welcome(1, "", "", {}, {}, [], WireLimits(1, 1, 1)),
    ),
}
_ABOUT: Final = (
    "Frames that a reader takes, and what they mean. 'written': the bytes that plughost itself "
    "writes. 'also_taken': other bytes for the same. SPEC.md describes the form of this file."
)


def _to_hex(data: bytes) -> str:
    pieces = [""]
    for byte, run in itertools.groupby(data):
        length = len(list(run))
        if length >= 16:
            pieces += [f"{byte:02x}*{length}", ""]
        else:
            pieces[-1] += f"{byte:02x}" * length
    return " ".join(filter(None, pieces))


def _from_hex(text: str) -> bytes:
    """The bytes of pieces like `0a0b` and `00*1000`, between spaces."""
    data = b""
    for piece in text.split():
        digits, _, times = piece.partition("*")
        data += bytes.fromhex(digits) * int(times or 1)
    return data


def _meaning(value: Any) -> Any:
    """`value` as JSON, with an object of one `$` key where JSON has no form for it."""
    match value:
        case Raw():
            return _meaning(decode_value(value))
        case msgspec.Struct():
            return {name: _meaning(getattr(value, name)) for name in value.__struct_fields__}
        case bytes():
            return {"$bytes": _to_hex(value)}
        case datetime.datetime():
            return {"$timestamp": value.isoformat()}
        case str() if len(value) > 300 and len(set(value)) == 1:
            return {"$repeat": [value[0], len(value)]}
        case list() if len(value) > 300 and set(map(type, value)) == {int} and len(set(value)) == 1:
            return {"$repeat": [[value[0]], len(value)]}
        case dict():
            return {key: _meaning(item) for key, item in value.items()}
        case list():
            return [_meaning(item) for item in value]
        case _:
            return value


def _vector(name: str, payload: bytes, message: Message) -> dict[str, Any]:
    return {
        "name": name,
        "hex": f"{frame_header(len(payload)).hex()} {_to_hex(payload)}",
        "message": type(message).__name__,
        "fields": _meaning(message),
    }


def _valid_json() -> str:
    groups = {
        "written": [_vector(name, encode(message), message) for name, message in _MESSAGES.items()],
        "also_taken": [_vector(name, *pair) for name, pair in _ALSO_TAKEN.items()],
    }
    # A vector a line, so that a change shows as what it is.
    lists = [
        f'"{group}": [\n' + ",\n".join(json.dumps(v, ensure_ascii=False) for v in vectors) + "\n]"
        for group, vectors in groups.items()
    ]
    return ",\n".join(['{\n"about": ' + json.dumps(_ABOUT), *lists]) + "\n}\n"


# Here and not at the end: the tests below cannot even be collected without the file.
if __name__ == "__main__":
    (_VECTORS / "valid.json").write_text(_valid_json(), encoding="utf-8")


def _load(name: str) -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads((_VECTORS / name).read_text(encoding="utf-8"))
    return vectors


def _params(file: str, group: str) -> pytest.MarkDecorator:
    vectors = [pytest.param(vector, id=vector["name"]) for vector in _load(file)[group]]
    return pytest.mark.parametrize("vector", vectors)


def _payload(vector: dict[str, Any]) -> bytes:
    decoder = FrameDecoder()
    (payload,) = decoder.feed(_from_hex(vector["hex"]))
    assert decoder.is_idle
    return payload


def test_the_valid_frames_are_those_that_the_messages_give_today() -> None:
    assert (_VECTORS / "valid.json").read_text(encoding="utf-8") == _valid_json(), (
        "run: python tests/test_vectors.py, and read the difference: the bytes have changed"
    )


def test_every_message_type_has_valid_frames() -> None:
    types = {vector["message"] for vector in _load("valid.json")["written"]}
    assert types == {type(message).__name__ for message in _MESSAGES.values()}
    assert len(types) == 13


@_params("valid.json", "written")
def test_a_valid_frame_is_read_and_written_alike(vector: dict[str, Any]) -> None:
    payload = _payload(vector)
    message = decode_message(payload)
    assert type(message) is getattr(plughost_protocol, vector["message"])
    assert _meaning(message) == vector["fields"]
    assert encode(message) == payload


@_params("valid.json", "also_taken")
def test_other_bytes_for_the_same_message_are_taken(vector: dict[str, Any]) -> None:
    message = decode_message(_payload(vector))
    assert type(message) is getattr(plughost_protocol, vector["message"])
    assert _meaning(message) == vector["fields"]


@_params("invalid.json", "frames")
def test_an_invalid_frame_is_refused(vector: dict[str, Any]) -> None:
    if vector["error"] == FrameTooLarge.__name__:
        with pytest.raises(FrameTooLarge):
            FrameDecoder().feed(_from_hex(vector["hex"]))
    else:
        assert vector["error"] == MalformedMessage.__name__
        payload = _payload(vector)
        with pytest.raises(MalformedMessage):
            decode_message(payload)


@_params("invalid.json", "values")
def test_an_invalid_value_is_passed_on_in_a_message_and_refused_when_it_is_decoded(
    vector: dict[str, Any],
) -> None:
    message = decode_message(_payload(vector))
    assert isinstance(message, Result)
    with pytest.raises(MalformedMessage):
        decode_value(message.value)


def test_every_violation_that_one_frame_can_hold_has_an_invalid_frame() -> None:
    spec = (_PROTOCOL / "SPEC.md").read_text(encoding="utf-8")
    table = spec.split("### In one frame")[1].split("###")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)[1:]
    assert {vector["violation"] for vector in _load("invalid.json")["frames"]} == set(rows)


@_params("streams.json", "streams")
def test_a_stream_is_cut_into_its_frames(vector: dict[str, Any]) -> None:
    decoder = FrameDecoder(vector.get("max_frame", MAX_FRAME))
    *chunks, last = map(_from_hex, vector["chunks"])
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    if "error" in vector:
        with pytest.raises(FrameTooLarge):
            decoder.feed(last)
    else:
        frames += decoder.feed(last)
        assert decoder.is_idle == vector["idle"]
    assert frames == [_from_hex(frame) for frame in vector["frames"]]
