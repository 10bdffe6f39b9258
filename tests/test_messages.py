"""The messages: what is taken, what is refused, and what a hostile sender can make us pay."""

import contextlib
import datetime
import struct
import tracemalloc
from typing import Any, SupportsIndex, get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec import inspect as types

from plughost_protocol import (
    MAX_VALUES,
    Ack,
    Call,
    CallMeta,
    Cancel,
    Chunk,
    Credit,
    Error,
    Hello,
    MalformedMessage,
    Message,
    Notify,
    Ping,
    Pong,
    Progress,
    Result,
    ToolSpec,
    VersionMismatch,
    Welcome,
    WireLimits,
    check_values,
    count_values,
    decode_message,
    decode_value,
    encode,
    negotiate,
)

# A loaded machine makes no example wrong.
_unhurried = settings(deadline=None)

_MESSAGES: tuple[type[msgspec.Struct], ...] = get_args(Message)

# What any side may choose as a value.
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=50)
    | st.binary(max_size=50)
    # In UTC: Python calls times of two zones unequal where a clock change makes one ambiguous.
    | st.datetimes(timezones=st.just(datetime.UTC))
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
_maps = st.dictionaries(st.text(max_size=5), _values, max_size=3)
_raws = _values.map(encode).map(Raw)
_ids = st.integers(1, 2**63 - 1)
_naturals = st.integers(0, 2**63 - 1)
_versions = st.integers(0, 2**16 - 1)


def _texts(most: int, least: int = 0) -> st.SearchStrategy[str]:
    return st.text(min_size=least, max_size=most)


_messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, _versions, _versions, _texts(100), _texts(100)),
    st.builds(
        Welcome,
        st.integers(1, 9),
        _texts(20),
        _texts(20),
        _maps,
        _maps,
        st.lists(_texts(20), max_size=3),
        st.builds(WireLimits, _naturals, _naturals, _naturals),
    ),
    st.builds(
        Call,
        _ids,
        _texts(200, least=1),
        _raws,
        st.builds(
            CallMeta,
            timeout_ms=st.integers(0, 2**53 - 1),
            parent=_naturals,
            credit=st.integers(0, 2**31 - 1),
            caller=_texts(2000),
            user_id=_texts(1000),
            request_id=_texts(1000),
            trace=_texts(1000),
        ),
    ),
    st.builds(Ack, _ids),
    st.builds(Result, _ids, _raws),
    st.builds(Error, _ids, _texts(100, least=1), _texts(100), _raws),
    st.builds(Cancel, _ids),
    st.builds(Progress, _ids, st.floats(), st.none() | st.floats(), _texts(1000)),
    st.builds(Chunk, _ids, _raws),
    st.builds(Credit, _ids, st.integers(1, 2**31 - 1)),
    st.builds(Notify, _texts(200, least=1), _raws),
    st.builds(Ping, _naturals),
    st.builds(Pong, _naturals),
)


# What is taken.


@_unhurried
@given(_messages)
def test_a_message_comes_back_as_it_was_sent(message: Message) -> None:
    payload = encode(message)
    back = decode_message(payload)
    assert type(back) is type(message)
    # Equal bytes are equal fields, NaN and Raw included, which are not equal to themselves.
    assert encode(back) == payload


@_unhurried
@given(_values)
def test_a_value_comes_back_as_it_was_sent(value: object) -> None:
    assert decode_value(encode(value)) == value
    assert decode_value(Raw(encode(value))) == value


def test_every_message_has_a_strategy_here_and_a_tag_of_its_own() -> None:
    tags = sorted(cls.__struct_config__.tag for cls in _MESSAGES)  # type: ignore[type-var] # ints
    assert tags == list(range(1, 14))
    strategies = str(_messages)
    assert all(f"builds({cls.__name__}," in strategies for cls in _MESSAGES)


@pytest.mark.parametrize("count", range(5))
def test_fields_at_the_end_that_have_a_default_may_be_left_out(count: int) -> None:
    meta = [1000, 2, 3, "app", "ada"][:count]
    call = decode_message(encode([3, 1, "tool:x", None, meta]))
    assert isinstance(call, Call)
    assert call.meta == CallMeta(*meta)  # type: ignore[arg-type] # the first fields, in order


def test_numbers_of_any_width_are_taken() -> None:
    narrow = decode_message(b"\x92\x0c\x01")
    wide = decode_message(
        b"\xdd\0\0\0\2" + b"\xcf" + (12).to_bytes(8, "big") + b"\xd3" + (1).to_bytes(8, "big")
    )
    assert narrow == wide == Ping(1)


def test_a_whole_number_is_taken_for_a_float() -> None:
    assert decode_message(b"\x93\x08\x01\x05") == Progress(1, 5.0)


def test_limits_that_a_later_host_adds_are_ignored() -> None:
    welcome = decode_message(encode([2, 1, "/", "m", {}, {}, [], [1, 2, 3, "info", 4]]))
    assert isinstance(welcome, Welcome)
    assert welcome.limits == WireLimits(1, 2, 3)


# What is refused.


def _least(type_: types.Type) -> Any:
    """The least value of a field's type."""
    match type_:
        case types.IntType():
            return type_.ge or 0
        case types.StrType():
            return "x" * (type_.min_length or 0)
        case types.FloatType():
            return 0.5
        case types.DictType():
            return {}
        case types.ListType():
            return []
        case types.StructType():
            return [_least(field.type) for field in type_.fields]
        case _:
            return None


def _fields(cls: type[msgspec.Struct]) -> tuple[types.Field, ...]:
    info = types.type_info(cls)
    assert isinstance(info, types.StructType)
    return info.fields


def _wire(cls: type[msgspec.Struct]) -> list[Any]:
    """The least message of a class, every field present, as an array."""
    return [cls.__struct_config__.tag, *(_least(field.type) for field in _fields(cls))]


def _edges(type_: types.Type) -> tuple[list[Any], list[Any]]:
    """Values at the bounds of a type, and values just past them; none without bounds."""
    match type_:
        case types.IntType(ge=int(low), lt=lt, le=le):
            high = le if le is not None else (lt or 0) - 1
            return [low, high], [low - 1, high + 1]
        case types.StrType(min_length=least, max_length=int(most)):
            # Characters are counted, not bytes.
            return ["é" * (least or 0), "é" * most], ["é" * (most + 1)] + [""] * bool(least)
        case _:
            return [], []


def _bounded_fields() -> list[Any]:
    """The class and the place of each bounded field, with the values of `_edges`."""
    cases = []
    for cls in _MESSAGES:
        for place, field in enumerate(_fields(cls), 1):
            inner = enumerate(_fields(CallMeta)) if field.name == "meta" else ()
            for path, leaf in [((place,), field), *(((place, n), f) for n, f in inner)]:
                inside, outside = _edges(leaf.type)
                if inside:
                    name = f"{cls.__name__}.{leaf.name}"
                    cases.append(pytest.param(cls, path, inside, outside, id=name))
    return cases


def _payload(cls: type[msgspec.Struct], path: tuple[int, ...], value: object) -> bytes:
    """The least message of a class with one value replaced."""
    wire = items = _wire(cls)
    for step in path[:-1]:
        items = items[step]
    items[path[-1]] = value
    return encode(wire)


@pytest.mark.parametrize(("cls", "path", "inside", "outside"), _bounded_fields())
def test_a_field_is_taken_up_to_its_bounds_and_no_further(
    cls: type[msgspec.Struct], path: tuple[int, ...], inside: list[Any], outside: list[Any]
) -> None:
    for value in inside:
        back = msgspec.msgpack.decode(encode(decode_message(_payload(cls, path, value))))
        for step in path:
            back = back[step]
        assert back == value
    for value in outside:
        with pytest.raises(MalformedMessage):
            decode_message(_payload(cls, path, value))


_KINDS: dict[type, object] = {
    int: 1, float: 0.5, str: "x", bytes: b"x", bool: True, list: [[]], dict: {"k": 1}
}  # fmt: skip
_TAKEN: dict[type[types.Type], set[type]] = {
    types.RawType: set(_KINDS),
    types.IntType: {int},
    types.FloatType: {int, float},
    types.UnionType: {int, float},
    types.StrType: {str},
    types.DictType: {dict},
    types.ListType: set(),
    types.StructType: set(),
}


@pytest.mark.parametrize("cls", _MESSAGES)
def test_a_field_of_the_wrong_type_is_refused(cls: type[msgspec.Struct]) -> None:
    for place, field in enumerate(_fields(cls), 1):
        for kind in _KINDS.keys() - _TAKEN[type(field.type)]:
            with pytest.raises(MalformedMessage):
                decode_message(_payload(cls, (place,), _KINDS[kind]))


@pytest.mark.parametrize("cls", _MESSAGES)
def test_a_field_too_many_or_a_required_one_too_few_is_refused(cls: type[msgspec.Struct]) -> None:
    wire = _wire(cls)
    required = sum(field.required for field in _fields(cls))
    for wrong in ([*wire, None], wire[:required]):
        with pytest.raises(MalformedMessage):
            decode_message(encode(wrong))


@_unhurried
@given(st.binary(max_size=200))
@example(b"")
@example(b"\x90")
@example(b"\xc1")
@example(b"\x92\x0c\x01\x00")
@example(b"\x93\x0b\xa1\xff\xc0")
@example(b"\x81\x80\x01")
@example(b"\xc7\x0c\xff" + b"\xff" * 12)
def test_random_bytes_raise_nothing_but_malformed_message(data: bytes) -> None:
    for decode in (decode_message, decode_value):
        with contextlib.suppress(MalformedMessage):
            decode(data)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A message with one thing wrong: random bytes rarely come past the first field."""
    payload = encode(draw(_messages))
    place = draw(st.integers(0, len(payload) - 1))
    piece = draw(st.binary(max_size=6))
    return payload[:place] + piece + payload[place + draw(st.integers(0, 3)) :]


@_unhurried
@given(_damaged())
def test_a_damaged_message_raises_nothing_but_malformed_message(payload: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        message = decode_message(payload)
        for field in ("params", "value", "data"):
            if hasattr(message, field):
                decode_value(getattr(message, field))


@_unhurried
@given(_messages, st.binary(min_size=1, max_size=5))
def test_bytes_after_a_message_are_refused(message: Message, more: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_message(encode(message) + more)


@_unhurried
@given(_messages, st.data())
def test_a_message_cut_short_is_refused(message: Message, data: st.DataObject) -> None:
    payload = encode(message)
    with pytest.raises(MalformedMessage):
        decode_message(payload[: data.draw(st.integers(0, len(payload) - 1))])


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa0"], ids=["arrays", "maps"])
def test_nesting_without_end_is_refused_and_500_levels_are_not(opening: bytes) -> None:
    head = b"\x93\x05\x01"
    assert decode_value(opening * 500 + b"\xc0")
    assert isinstance(decode_message(head + opening * 500 + b"\xc0"), Result)
    with pytest.raises(MalformedMessage, match="recursion"):
        decode_value(opening * 90_000 + b"\xc0")
    with pytest.raises(MalformedMessage, match="recursion"):
        decode_message(head + opening * 90_000 + b"\xc0")


@pytest.mark.parametrize("first", [0xC6, 0xC9, 0xDB, 0xDD, 0xDF])
def test_an_announced_size_inside_a_message_allocates_nothing(first: int) -> None:
    lie = bytes([first]) + b"\xff" * 4
    tracemalloc.start()
    for decode, data in ((decode_value, lie), (decode_message, b"\x93\x05\x01" + lie)):
        with pytest.raises(MalformedMessage):
            decode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("data", [b"\xd4\x01\x00", b"\x91\xd6\x7f\0\0\0\0", b"\xc7\x00\x05"])
def test_no_ext_type_but_the_timestamp_is_decoded(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="extension type"):
        decode_value(data)


@pytest.mark.parametrize("name", ["", "9a", "a b", "a\n", "é", "a/b", "x" * 65, "-a"])
def test_a_tool_name_is_one_word_with_nothing_after_it(name: str) -> None:
    for good in ("a", "_a", "get_weather", "Get.weather-2", "x" * 64):
        msgspec.convert({"name": good, "input_schema": {}}, ToolSpec)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": name, "input_schema": {}}, ToolSpec)


# What a hostile sender can make us pay.


class _Texts:
    """msgpack bytes made by hand, in every format: the encoder writes only the shortest."""

    @staticmethod
    def sized(width: int, first: int, between: bytes = b"") -> st.SearchStrategy[bytes]:
        """A length in so many bytes, then that many bytes, as bin, str and ext have them."""
        return st.binary(max_size=40).map(
            lambda data: bytes([first]) + len(data).to_bytes(width, "big") + between + data
        )

    @staticmethod
    def fixed(first: int, size: int) -> st.SearchStrategy[bytes]:
        """A first byte, then always so many bytes."""
        return st.binary(min_size=size, max_size=size).map(lambda data: bytes([first]) + data)


_NUMBERS = {
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}
_FIXED_EXTS = {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_leaf_bytes = st.one_of(
    st.sampled_from([b"\xc0", b"\xc2", b"\xc3"]),
    st.integers(0, 0x7F).map(lambda first: bytes([first])),
    st.integers(0xE0, 0xFF).map(lambda first: bytes([first])),
    *(_Texts.fixed(first, size) for first, size in (_NUMBERS | _FIXED_EXTS).items()),
    *(_Texts.sized(width, first) for width, first in ((1, 0xC4), (2, 0xC5), (4, 0xC6))),
    *(_Texts.sized(width, first) for width, first in ((1, 0xD9), (2, 0xDA), (4, 0xDB))),
    *(_Texts.sized(width, first, b"\x05") for width, first in ((1, 0xC7), (2, 0xC8), (4, 0xC9))),
    st.binary(max_size=31).map(lambda data: bytes([0xA0 | len(data)]) + data),
)
# Bytes, how many values they hold, and whether a map key among them is an array or a map.
_Text = tuple[bytes, int, bool]
_leaf_texts: st.SearchStrategy[_Text] = _leaf_bytes.map(lambda data: (data, 1, False))


def _container(items: list[_Text], width: int, is_map: bool) -> _Text:
    if is_map:
        items = items[: len(items) // 2 * 2]
    count = len(items) // 2 if is_map else len(items)
    if width == 0:
        head = bytes([(0x80 if is_map else 0x90) | count])
    else:
        first = {(2, False): 0xDC, (4, False): 0xDD, (2, True): 0xDE, (4, True): 0xDF}
        head = bytes([first[width, is_map]]) + count.to_bytes(width, "big")
    keys = items[::2] if is_map else []
    return (
        head + b"".join(data for data, _, _ in items),
        1 + sum(values for _, values, _ in items),
        any(bad for _, _, bad in items) or any(_opens_container(data[0]) for data, _, _ in keys),
    )


def _opens_container(first: int) -> bool:
    return 0x80 <= first <= 0x9F or 0xDC <= first <= 0xDF


_texts_by_hand = st.recursive(
    _leaf_texts,
    lambda inner: st.builds(
        _container, st.lists(inner, max_size=15), st.sampled_from([0, 2, 4]), st.booleans()
    ),
    max_leaves=30,
)


def _count(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(_count(key) + _count(item) for key, item in value.items())
    return 1 + sum(map(_count, value)) if isinstance(value, list) else 1


@_unhurried
@given(_values)
def test_the_count_of_an_encoded_value_is_the_number_of_its_parts(value: object) -> None:
    assert count_values(encode(value), 10**9) == _count(value)


@_unhurried
@given(_texts_by_hand)
def test_values_are_counted_in_every_format_of_msgpack(text: _Text) -> None:
    data, values, _ = text
    assert count_values(data, 10**9) == values


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("kind", [bytes, str])
def test_a_text_or_blob_of_any_length_is_one_value(kind: type, size: int) -> None:
    value = b"\x90" * size if kind is bytes else "x" * size
    assert count_values(encode([value, value]), 10**9) == 3


@_unhurried
@given(_texts_by_hand, st.integers(0, 40))
def test_counting_ends_just_past_its_limit(text: _Text, limit: int) -> None:
    data, values, _ = text
    assert count_values(data, limit) == min(values, limit + 1)


class _Watched(bytes):
    """Bytes that remember how far they were read."""

    furthest = -1

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        last = key.stop - 1 if isinstance(key, slice) else int(key)
        self.furthest = max(self.furthest, last)
        return super().__getitem__(key)


def test_counting_reads_no_further_than_its_limit() -> None:
    data = _Watched(b"\x90" * 1_000_000)
    assert count_values(data, 100) == 101
    assert data.furthest == 100


@_unhurried
@given(st.binary(max_size=200))
def test_broken_bytes_are_counted_without_an_error(data: bytes) -> None:
    assert count_values(data, 10**9) <= len(data)


def test_200_000_values_are_decoded_and_one_more_is_refused() -> None:
    def text(values: int) -> bytes:
        return b"\xdd" + struct.pack(">I", values - 1) + b"\x90" * (values - 1)

    assert len(decode_value(text(MAX_VALUES))) == MAX_VALUES - 1
    with pytest.raises(MalformedMessage, match="more than 200000 values"):
        decode_value(text(MAX_VALUES + 1))


def test_a_long_text_of_few_values_is_decoded() -> None:
    blob = bytes(1_000_000)
    assert decode_value(encode([blob])) == [blob]


@pytest.mark.parametrize("place", [5, 6, 7], ids=["config", "grants", "limits"])
def test_a_welcome_full_of_empty_values_is_refused_before_it_is_built(place: int) -> None:
    # A worker can send one to the host, which then decodes it before it can say no.
    bomb = b"\xdd" + struct.pack(">I", 500_000) + b"\x90" * 500_000
    fields = [b"\x02", b"\x01", b"\xa0", b"\xa0", b"\x80", b"\x80", b"\x90", b"\x93\1\1\1"]
    fields[place] = b"\x81\xa1a" + bomb if place == 5 else bomb
    payload = b"\x98" + b"".join(fields)
    tracemalloc.start()
    with pytest.raises(MalformedMessage, match="more than 200000 values"):
        decode_message(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(payload)


_keys = [encode(f"k{number}") for number in range(255)]


@pytest.mark.parametrize("head", [b"\xde\x01\x00", b"\xdf\x00\x00\x01\x00"])
@pytest.mark.parametrize("key", [b"\x91\x01", b"\x90", b"\xdc\0\x01\x01", b"\x80", b"\xde\0\0"])
@pytest.mark.parametrize("place", [0, 100, 255])
def test_a_large_map_with_an_array_or_a_map_for_a_key_is_refused(
    head: bytes, key: bytes, place: int
) -> None:
    # Arrays become tuples, whose hashes a sender can choose: 50,000 alike take half a minute.
    keys = [*_keys[:place], key, *_keys[place:]]
    large = head + b"".join(key + b"\x91\x01" for key in keys)
    for data in (large, b"\x92\x01" + large, b"\x81\xa1a" + large):
        with pytest.raises(MalformedMessage, match="map key"):
            decode_value(data)
    manifest = b"\x98\x02\x01\xa0\xa0\x81\xa1m" + large + b"\x80\x90\x93\1\1\1"
    with pytest.raises(MalformedMessage, match="map key"):
        decode_message(manifest)


def test_a_large_map_with_scalar_keys_is_decoded() -> None:
    words = {f"k{number}": [number, {"a": [number]}] for number in range(17_000)}
    assert decode_value(encode(words)) == words
    numbers: dict[int, list[list[int]]] = {number: [[]] for number in range(300)}
    assert decode_value(encode(numbers)) == numbers


@_unhurried
@given(_texts_by_hand)
def test_a_container_as_a_key_is_found_wherever_it_stands(text: _Text) -> None:
    data, _, bad = text
    # The blob looks like the head of a large map, so the whole text is looked at.
    data = b"\x92" + encode(b"\xdf\xde\xff" + bytes(600)) + data
    if bad:
        with pytest.raises(MalformedMessage, match="map key"):
            check_values(data)
    else:
        check_values(data)


# Versions.

_NEWER_HOST = "install a newer plughost in the host"
_NEWER_SDK = "install a newer plughost SDK in the plugin"


@pytest.mark.parametrize(
    ("worker", "host", "outcome"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 3), (1, 2), 2),
        ((2, 3), (1, 5), 3),
        ((1, 2), (2, 3), 2),
        ((0, 1), (1, 1), 1),
        ((0, 65_535), (1, 1), 1),
    ],
)
def test_the_newest_version_that_both_speak_is_spoken(
    worker: tuple[int, int], host: tuple[int, int], outcome: int
) -> None:
    assert negotiate(worker, host) == outcome


@pytest.mark.parametrize(
    ("worker", "host", "sentence"),
    [
        ((3, 3), (1, 2), f"protocol 3, this host speaks 1 to 2: {_NEWER_HOST}"),
        ((1, 2), (3, 3), f"protocol 1 to 2, this host speaks 3: {_NEWER_SDK}"),
        ((2, 1), (1, 3), f"protocol 2 to 1, this host speaks 1 to 3: {_NEWER_SDK}"),
    ],
)
def test_where_no_version_is_shared_the_error_names_the_remedy(
    worker: tuple[int, int], host: tuple[int, int], sentence: str
) -> None:
    with pytest.raises(VersionMismatch) as caught:
        negotiate(worker, host)
    assert str(caught.value) == f"the worker speaks {sentence}"
    assert (caught.value.worker, caught.value.host) == (worker, host)


_ranges = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda pair: (min(pair), max(pair)))


@_unhurried
@given(_ranges, _ranges)
def test_negotiation_agrees_with_looking_at_every_version(
    worker: tuple[int, int], host: tuple[int, int]
) -> None:
    shared = set(range(worker[0], worker[1] + 1)) & set(range(host[0], host[1] + 1))
    if shared:
        assert negotiate(worker, host) == max(shared)
    else:
        with pytest.raises(VersionMismatch):
            negotiate(worker, host)
