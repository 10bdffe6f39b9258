"""Response bodies without their content encoding, a bounded piece at a time.

The bound is on what comes out: a few kilobytes of gzip can stand for gigabytes.
"""

import zlib
from collections.abc import Iterator
from typing import Final, Protocol

__all__ = ["ACCEPTED", "PIECE", "Decoder", "decoder_for"]

ACCEPTED: Final = "gzip, deflate"
"""For the Accept-Encoding header."""

PIECE: Final = 64 * 1024
"""Bytes; no more than this is decoded at once."""

_GZIP: Final = zlib.MAX_WBITS | 16
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class Decoder(Protocol):
    """What one content encoding takes off."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces, each made when it is asked for. Raises `ValueError`."""

    def end(self) -> None:
        """Raises `ValueError` where the data ended too early."""


def decoder_for(encoding: str) -> Decoder:
    """The decoder for a Content-Encoding header. Raises `ValueError` for one not asked for."""
    match encoding.strip().lower():
        case "" | "identity":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Gzip()
        case "deflate":
            return _Deflate()
    raise ValueError(
        f"its content encoding is {encoding[:100]!r}, and {ACCEPTED} is what was asked for"
    )


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]

    def end(self) -> None:
        """There is nothing that could be missing."""


class _Gzip:
    """One gzip member after another, as `cat a.gz b.gz` makes them."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._is_empty = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member.eof:
                # Zeros may pad the end: RFC 1952 does not say so, and gzip(1) takes them.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = zlib.decompressobj(_GZIP)
            self._is_empty = False
            yield from _pieces(self._member, data)
            data = self._member.unused_data

    def end(self) -> None:
        if not self._member.eof and not self._is_empty:
            raise ValueError("its gzip data ends too early")


class _Deflate:
    """The zlib format, as RFC 9110 has it, or bare deflate data, as some servers send."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_ZLIB)
        self._first = b""
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not self._begun:
            self._first += data
            if len(self._first) < 2:
                return
            data, self._begun = self._first, True
            # RFC 1950: the low nibble names the method, and both bytes are a multiple of 31.
            if data[0] & 0x0F != zlib.DEFLATED or int.from_bytes(data[:2]) % 31:
                self._inner = zlib.decompressobj(_RAW)
        if not self._inner.eof:
            yield from _pieces(self._inner, data)

    def end(self) -> None:
        if self._first and not self._inner.eof:
            raise ValueError("its deflate data ends too early")


def _pieces(inner: "zlib._Decompress", data: bytes) -> Iterator[bytes]:
    while not inner.eof:
        try:
            piece = inner.decompress(data, PIECE)
        except zlib.error as exc:
            raise ValueError(f"its compressed data is damaged: {exc}") from exc
        if piece:
            yield piece
        data = inner.unconsumed_tail
        # A full piece may leave more in the decoder, though all input is used up.
        if not data and len(piece) < PIECE:
            return
