"""Sends what a worker may not send. Each tool breaks another rule, and then waits."""

import asyncio
import os

from msgspec import Raw

from plughost_protocol import (
    Call,
    Cancel,
    Chunk,
    Credit,
    Hello,
    Message,
    Notify,
    Result,
    Welcome,
    WireLimits,
    encode,
    frame_header,
)
from plughost_sdk import Plugin, current_call

plugin = Plugin()


async def _frame(payload: bytes) -> None:
    os.set_blocking(4, True)
    os.write(4, frame_header(len(payload)) + payload)
    await asyncio.Event().wait()


async def _send(message: Message) -> None:
    await _frame(encode(message))


@plugin.tool
async def garbage() -> None:
    await _frame(b"\xc1 this is not msgpack")


@plugin.tool
async def empty_frame() -> None:
    await _frame(b"")


@plugin.tool
async def unknown_message() -> None:
    await _frame(encode([99, 1]))


@plugin.tool
async def field_too_many() -> None:
    await _frame(encode([12, 1, "more"]))


@plugin.tool
async def welcome() -> None:
    await _send(Welcome(1, "/", "x.py", {}, {}, [], WireLimits(1, 1, 1)))


@plugin.tool
async def credit() -> None:
    await _send(Credit(current_call().id, 1))


@plugin.tool
async def second_hello() -> None:
    await _send(Hello(1, 1, "Python", "sdk"))


@plugin.tool
async def call_ids_that_fall() -> None:
    payload = encode(Call(7, "no.such.method", Raw(b"\xc0")))
    os.write(4, frame_header(len(payload)) + payload)
    await _send(Call(6, "no.such.method", Raw(b"\xc0")))


@plugin.tool
async def broken_log() -> None:
    await _send(Notify("log", Raw(encode({"level": "loud", "message": "x"}))))


@plugin.tool
async def long_log() -> None:
    """A record of 300 kB, which the host would have to keep."""
    record = {"level": "info", "message": "x", "fields": {"f": "y" * 300_000}}
    await _send(Notify("log", Raw(encode(record))))


@plugin.tool
async def chunk_to_a_plain_call() -> None:
    await _send(Chunk(current_call().id, Raw(b"\x01")))


@plugin.tool
async def chunk_of_no_call() -> None:
    await _send(Chunk(1_000_000, Raw(b"\x01")))


@plugin.tool
async def deep_result() -> None:
    """Nested a million deep."""
    await _send(Result(current_call().id, Raw(b"\x91" * 1_000_000 + b"\xc0")))


@plugin.tool
async def many_values() -> None:
    """200,001 of them, past the SDK, which would have counted."""
    await _send(Result(current_call().id, Raw(encode([None] * 200_001))))


@plugin.tool
async def colliding_keys() -> None:
    """A map with an array for a key, of which a sender can choose the hash."""
    items = b"".join(b"\x91" + encode(n) + b"\xc0" for n in range(1000))
    await _send(Result(current_call().id, Raw(b"\xde\x03\xe8" + items)))


@plugin.tool
async def extension_type() -> None:
    await _send(Result(current_call().id, Raw(b"\xd4\x05\x00")))


@plugin.tool
async def result_that_is_cut() -> None:
    """An array of which the frame holds only the header."""
    await _frame(b"\x93\x05" + encode(current_call().id) + b"\xdd\xff\xff\xff\xff")


@plugin.tool
async def cancel_of_no_request() -> str:
    """Harmless: it may have been answered in the meantime."""
    payload = encode(Cancel(1_000_000))
    os.write(4, frame_header(len(payload)) + payload)
    return "still here"
