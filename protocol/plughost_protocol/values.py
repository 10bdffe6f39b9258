"""Judging a msgpack text without building its values.

An empty list takes one byte on the wire and 64 in memory, so a frame of 16 MiB could become
more than 1 GB. Counting first, and only in texts long enough to matter, bounds that.

A map key that is an array becomes a tuple. A tuple's hash has no secret in it, so a sender can
choose 50,000 keys of one hash, which take half a minute to put into a dict. Strings are safe.
Format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from typing import Final

from msgspec import Raw

from .errors import MalformedMessage

__all__ = ["MAX_VALUES", "check_values", "count_values"]

MAX_VALUES: Final = 200_000
"""Values (map keys among them) that one message may hold: at most 15 MB once decoded."""

# By first byte: how many bytes to skip, and how wide a length or count follows.
_FIXED: Final = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED_INT: Final = {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED_EXT: Final = {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_SKIP: Final = _FIXED | _FIXED_INT | _FIXED_EXT
_SIZED: Final = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_SIZED_TEXT: Final = {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_LENGTHS: Final = _SIZED | _SIZED_TEXT
_COUNT_WIDTH: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}

# The headers of maps that may have 256 entries or more; fewer keys may well collide.
_LARGE_MAPS: Final = (b"\xde", b"\xdf")
_HARMLESS: Final = 512  # bytes; 256 entries take more


def check_values(raw: Raw | bytes) -> None:
    """Refuse a text that would cost far more to decode than its length says.

    Raises `MalformedMessage` on more than `MAX_VALUES` values, and, where a map may have 256
    entries, on a map key that is an array or a map. To be called before any decoding of foreign
    bytes; `decode_value` does it by itself.
    """
    if memoryview(raw).nbytes <= _HARMLESS:
        return
    data = bytes(raw)
    # A value takes at least a byte, so a short text cannot hold too many of them.
    if len(data) > MAX_VALUES and count_values(data, MAX_VALUES) > MAX_VALUES:
        raise MalformedMessage(f"more than {MAX_VALUES} values in one message: stream them instead")
    # Looking for a byte is quick, and text or bytes that hold one by chance are quickly passed.
    if any(header in data for header in _LARGE_MAPS) and _has_container_key(data):
        raise MalformedMessage("a map key is an array or a map: use strings for keys")


def count_values(data: bytes, limit: int) -> int:
    """The number of values in `data`, or some number over `limit` once that is passed.

    Counts what is there and judges nothing: broken bytes are the decoder's to refuse.
    """
    count = 0
    position = 0
    while position < len(data) and count <= limit:
        count += 1
        position += _size(data, position)
    return count


def _has_container_key(data: bytes) -> bool:
    """Whether an array or a map is a key of a map in the first value of `data`."""
    outer: list[tuple[int, bool]] = []
    # Values still to come of the innermost container, and whether every other one is a key.
    left, in_map = 1, False
    position = 0
    while position < len(data):
        while not left:
            if not outer:
                return False
            left, in_map = outer.pop()
        is_key = in_map and left % 2 == 0
        left -= 1
        first = data[position]
        if 0x80 <= first <= 0x9F or first in _COUNT_WIDTH:
            if is_key:
                return True
            outer.append((left, in_map))
            in_map = first <= 0x8F or first >= 0xDE
            width = _COUNT_WIDTH.get(first, 0)
            count = int.from_bytes(data[position + 1 : position + 1 + width], "big")
            left = (count if width else first & 0x0F) * (2 if in_map else 1)
            position += 1 + width
        else:
            position += _size(data, position)
    return False


def _size(data: bytes, position: int) -> int:
    """The bytes of the value at `position`; of a container, those of its header."""
    first = data[position]
    if first <= 0x9F or first >= 0xE0:  # small ints, and containers whose count says itself
        return 1
    if first <= 0xBF:  # short text
        return 1 + (first & 0x1F)
    if first in _LENGTHS:
        width, extra = _LENGTHS[first]
        length = int.from_bytes(data[position + 1 : position + 1 + width], "big")
        return 1 + width + length + extra
    return 1 + _COUNT_WIDTH.get(first, 0) + _SKIP.get(first, 0)
