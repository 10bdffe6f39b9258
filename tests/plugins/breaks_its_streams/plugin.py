"""Sends chunks that are too many or too long, and streams in ways that no reader expects."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

from msgspec import Raw

from plughost_protocol import MAX_CHUNK, Chunk, encode, frame_header
from plughost_sdk import Plugin, current_call

plugin = Plugin()


def _send(value: bytes) -> None:
    payload = encode(Chunk(current_call().id, Raw(encode(value))))
    os.set_blocking(4, True)
    os.write(4, frame_header(len(payload)) + payload)


@plugin.tool
async def without_credit() -> AsyncIterator[int]:
    for _ in range(100):
        _send(b"x")
    await asyncio.Event().wait()
    yield 0


@plugin.tool
async def too_long() -> AsyncIterator[int]:
    _send(b"x" * (MAX_CHUNK + 1))
    await asyncio.Event().wait()
    yield 0


@plugin.tool
async def too_long_by_the_sdk() -> AsyncIterator[bytes]:
    yield b"x" * (MAX_CHUNK + 1)


@plugin.tool
async def endless() -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1


@plugin.tool
async def empty_for_ever() -> AsyncIterator[int]:
    """A generator that never yields."""
    await asyncio.Event().wait()
    yield 0


@plugin.tool
def blocking_for_ever() -> Iterator[int]:
    time.sleep(3600)
    yield 0


@plugin.tool
async def raises_in_the_middle() -> AsyncIterator[int]:
    yield 1
    yield 2
    raise RuntimeError("no more")


@plugin.tool
async def dies_in_the_middle() -> AsyncIterator[int]:
    yield 1
    await asyncio.sleep(0.01)
    os.abort()


@plugin.tool
async def clings() -> AsyncIterator[int]:
    """Yields again when it is closed."""
    try:
        while True:
            yield 1
    finally:
        yield 2
