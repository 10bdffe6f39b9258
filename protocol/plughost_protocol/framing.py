"""Frames: a 4-byte big-endian length, then that many bytes. No I/O happens here."""

from struct import Struct
from typing import Final

from .errors import FrameTooLarge

__all__ = ["HEADER_SIZE", "MAX_FRAME", "FrameDecoder", "frame_header"]

MAX_FRAME: Final = 16 * 1024 * 1024
"""The largest payload of a frame, in bytes, unless the host negotiates a smaller one."""

_LENGTH: Final = Struct(">I")
HEADER_SIZE: Final = _LENGTH.size

frame_header = _LENGTH.pack
"""The 4 bytes that announce a payload of so many bytes."""

# A sender that writes two bytes at a time would have us keep 40 for each pair of them.
_SMALL_PART: Final = 4096


class FrameDecoder:
    """Cuts a stream of bytes into frames. Holds at most one incomplete frame.

    >>> FrameDecoder().feed(b"\\x00\\x00\\x00\\x02hi\\x00\\x00")
    [b'hi']
    """

    __slots__ = ("_max_frame", "_missing", "_parts")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max_frame = max_frame
        self._parts: list[bytes] = []
        # Bytes still to come of the frame in _parts; 0 while its header is incomplete.
        self._missing = 0

    @property
    def is_idle(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._parts

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, oldest first.

        Raises `FrameTooLarge` on reading an announced length over the limit; the stream is
        then lost, since nobody knows where the next frame starts.
        """
        if self._missing > len(data):
            if len(self._parts[-1]) < _SMALL_PART:
                self._parts[-1] += data
            else:
                self._parts.append(data)
            self._missing -= len(data)
            return []

        frames: list[bytes] = []
        start = 0
        if self._missing:
            start = self._missing
            self._parts.append(data[:start])
            frames.append(b"".join(self._parts))
            self._parts.clear()
            self._missing = 0
        elif self._parts:
            data = self._parts.pop() + data

        end = len(data)
        while end - start >= HEADER_SIZE:
            (length,) = _LENGTH.unpack_from(data, start)
            if length > self._max_frame:
                raise FrameTooLarge(length, self._max_frame)
            start += HEADER_SIZE
            if end - start < length:
                # An empty part too: a frame whose header alone has come is not idle.
                self._parts.append(data[start:])
                self._missing = length - (end - start)
                return frames
            frames.append(data[start : start + length])
            start += length

        if start < end:
            self._parts.append(data[start:])
        return frames
