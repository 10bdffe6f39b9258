"""The frames: cut, judged, and never trusted."""

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plughost_protocol import (
    HEADER_SIZE,
    MAX_FRAME,
    FrameDecoder,
    FrameTooLarge,
    ProtocolError,
    frame_header,
)

# A loaded machine makes no example wrong.
_unhurried = settings(deadline=None)
_payloads = st.lists(st.binary(max_size=80) | st.binary(min_size=4000, max_size=9000), max_size=8)


def _stream(payloads: list[bytes]) -> bytes:
    return b"".join(frame_header(len(payload)) + payload for payload in payloads)


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in chunks of these sizes, over and over."""
    chunks, start, turn = [], 0, 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        chunks.append(data[start : start + size])
        start += size
        turn += 1
    return chunks


_sizes = st.lists(st.integers(1, 5) | st.integers(1, 10_000), min_size=1, max_size=20)


@_unhurried
@given(_payloads, _sizes)
@example([b""], [1])
@example([b"", b"", b"x"], [3])
@example([b"x" * 9000], [4095])
def test_frames_come_out_alike_however_the_stream_is_cut(
    payloads: list[bytes], sizes: list[int]
) -> None:
    decoder = FrameDecoder()
    frames = [frame for chunk in _cut(_stream(payloads), sizes) for frame in decoder.feed(chunk)]
    assert frames == payloads
    assert decoder.is_idle


@_unhurried
@given(_payloads, _sizes)
def test_a_decoder_is_idle_exactly_between_two_frames(
    payloads: list[bytes], sizes: list[int]
) -> None:
    ends = {0}
    for payload in payloads:
        ends.add(max(ends) + HEADER_SIZE + len(payload))
    decoder = FrameDecoder()
    read = 0
    assert decoder.is_idle
    for chunk in _cut(_stream(payloads), sizes):
        decoder.feed(chunk)
        read += len(chunk)
        assert decoder.is_idle == (read in ends)


@_unhurried
@given(_payloads, _sizes)
def test_a_frame_comes_out_with_its_last_byte_and_not_later(
    payloads: list[bytes], sizes: list[int]
) -> None:
    data = _stream(payloads)
    decoder = FrameDecoder()
    read, frames = 0, []
    for chunk in _cut(data, sizes):
        frames += decoder.feed(chunk)
        read += len(chunk)
        complete = 0
        while len(_stream(payloads[: complete + 1])) <= read and complete < len(payloads):
            complete += 1
        assert frames == payloads[:complete]


@_unhurried
@given(st.lists(st.binary(max_size=200), max_size=20), st.sampled_from([0, 1, 300, MAX_FRAME]))
def test_random_bytes_raise_nothing_but_a_protocol_error(chunks: list[bytes], limit: int) -> None:
    decoder = FrameDecoder(limit)
    try:
        for chunk in chunks:
            assert all(len(frame) <= limit for frame in decoder.feed(chunk))
    except ProtocolError:
        pass


@_unhurried
@given(st.integers(0, 1000), st.integers(0, 2**32 - 1))
def test_a_length_is_refused_if_and_only_if_it_is_over_the_limit(limit: int, length: int) -> None:
    decoder = FrameDecoder(limit)
    if length <= limit:
        assert decoder.feed(frame_header(length)) == ([b""] if length == 0 else [])
        return
    with pytest.raises(FrameTooLarge) as caught:
        decoder.feed(frame_header(length))
    assert (caught.value.length, caught.value.limit) == (length, limit)
    assert str(caught.value) == f"a frame of {length} bytes is over the limit of {limit} bytes"


@_unhurried
@given(_payloads, st.integers(MAX_FRAME + 1, 2**32 - 1))
def test_an_oversized_frame_is_refused_at_the_last_byte_of_its_header(
    payloads: list[bytes], length: int
) -> None:
    decoder = FrameDecoder()
    data = _stream(payloads) + frame_header(length)
    decoder.feed(data[:-1])
    assert not decoder.is_idle
    with pytest.raises(FrameTooLarge):
        decoder.feed(data[-1:])


@pytest.mark.parametrize("length", [MAX_FRAME, MAX_FRAME + 1, 4_000_000_000])
def test_an_announced_length_allocates_nothing(length: int) -> None:
    decoder = FrameDecoder()
    header = frame_header(length)
    tracemalloc.start()
    try:
        decoder.feed(header)
    except FrameTooLarge:
        assert length > MAX_FRAME
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000


@pytest.mark.parametrize("size", [1, 2, 100, 5000])
def test_a_frame_in_tiny_pieces_takes_little_more_memory_than_its_bytes(size: int) -> None:
    received = 200_000
    decoder = FrameDecoder()
    decoder.feed(frame_header(MAX_FRAME))
    tracemalloc.start()
    for number in range(received // size):
        # Not one object over and over, which would take no memory at all.
        decoder.feed(number.to_bytes(4, "big") * (size // 4) or number.to_bytes(4, "big")[-size:])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1.2 * received


def test_an_empty_frame_is_a_frame() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(frame_header(0)) == [b""]
    assert decoder.feed(frame_header(0) * 2 + frame_header(1) + b"x") == [b"", b"", b"x"]
    assert decoder.is_idle


def test_a_frame_of_exactly_the_limit_is_taken() -> None:
    payload = bytes(MAX_FRAME)
    assert FrameDecoder().feed(frame_header(MAX_FRAME) + payload) == [payload]


def test_reading_nothing_changes_nothing() -> None:
    decoder = FrameDecoder()
    assert decoder.feed(b"") == []
    assert decoder.is_idle
    for piece in (b"\0\0", b"\0\2", b"h"):
        decoder.feed(piece)
        assert decoder.feed(b"") == []
        assert not decoder.is_idle
    assert decoder.feed(b"i") == [b"hi"]


def test_a_header_is_four_bytes_big_endian() -> None:
    assert HEADER_SIZE == 4
    assert frame_header(0x01020304) == b"\1\2\3\4"
