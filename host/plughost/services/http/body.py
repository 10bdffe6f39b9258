"""The body of a response: pulled, decoded, bounded, and without the plugin's secrets."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Final

import anyio
import anyio.lowlevel
import httpcore2

from plughost.services.http.backend import as_ours
from plughost.services.http.decode import Decoder
from plughost.services.http.errors import (
    HttpError,
    HttpFailed,
    HttpRefused,
    HttpTimeout,
    HttpTooLarge,
)
from plughost.services.http.secrets import SecretBox
from plughost.units import format_bytes

__all__ = ["Body"]

# Each costs the host about 25 us, however little it holds: tiny ones are for events, not for files.
_FREE_CHUNKS: Final = 20_000
_SMALL_CHUNK: Final = 512  # bytes
_A_WHILE: Final = 64  # chunks, after which the rest of the host has a turn


class Body:
    """Read by one at a time. Nothing is read from the server before it is asked for."""

    def __init__(
        self,
        response: httpcore2.Response,
        decoder: Decoder,
        secrets: SecretBox,
        limit: int,
        on_end: Callable[[str], None],
    ) -> None:
        """`limit` is decoded bytes. `on_end` is called once, with what went wrong or nothing."""
        self._response = response
        self._decoder = decoder
        self._secrets = secrets
        self._limit = limit
        self._on_end = on_end
        self._pieces = self._make_pieces()
        self._buffer = bytearray()
        self._reading: anyio.CancelScope | None = None
        self.closed = False

    async def read(self, size: int, timeout: float, *, fill: bool) -> bytes:
        """At most `size` bytes; nothing at the end, when it has closed itself.

        With `fill` as many, unless the end comes first; else what has come, at least one.
        `timeout` is seconds. After an error it is closed.
        """
        if self._reading is not None:
            raise HttpRefused("this body is being read already: one read at a time")
        problem = "cut off"
        try:
            with anyio.move_on_after(timeout) as self._reading, as_ours(self._secrets.redact):
                while not self.closed and len(self._buffer) < (size if fill else 1):
                    await self._receive()
                problem = ""
            if problem:
                problem = "closed while it was read" if self.closed else "the rest did not come"
                raise HttpTimeout(problem, timeout)
        except HttpError as exc:
            problem = str(exc)
            raise
        finally:
            self._reading = None
            if problem:
                await self._close(problem)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    @property
    def at_end(self) -> bool:
        """Whether all of it has been read."""
        return self.closed and not self._buffer

    async def aclose(self, problem: str = "closed before its end") -> None:
        """Close the connection, unless all had come. What is being read ends with an error."""
        self._buffer.clear()
        if self._reading is not None:
            self._reading.cancel()
        else:
            await self._close(problem)

    async def _close(self, problem: str) -> None:
        if self.closed:
            return
        self.closed = True
        with anyio.CancelScope(shield=True), as_ours(self._secrets.redact):
            await self._pieces.aclose()
            await self._response.aclose()
        self._on_end(problem)

    async def _receive(self) -> None:
        try:
            self._buffer += await anext(self._pieces)
        except StopAsyncIteration:
            await self._close("")

    async def _make_pieces(self) -> AsyncGenerator[bytes, None]:
        redactor = self._secrets.redactor()
        total = 0
        chunks = 0
        async with aclosing(self._response.aiter_stream()) as stream:
            async for chunk in stream:
                chunks += 1
                if chunks > _FREE_CHUNKS + total // _SMALL_CHUNK:
                    raise HttpTooLarge(f"the response has {chunks} chunks in {total} bytes")
                if chunks % _A_WHILE == 0:
                    await anyio.lowlevel.checkpoint()
                for piece in self._decoded(chunk):
                    total += len(piece)
                    if total > self._limit:
                        raise HttpTooLarge(
                            f"the response is over the limit of {format_bytes(self._limit)}"
                        )
                    yield redactor.feed(piece)
        try:
            self._decoder.end()
        except ValueError as exc:
            raise HttpFailed(f"the response cannot be read: {exc}") from exc
        yield redactor.end()

    def _decoded(self, chunk: bytes) -> Iterator[bytes]:
        try:
            yield from self._decoder.feed(chunk)
        except ValueError as exc:
            raise HttpFailed(f"the response cannot be read: {exc}") from exc
