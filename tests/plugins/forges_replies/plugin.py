"""Answers calls that were not made, answers twice, answers late, and acknowledges the future."""

import asyncio
import os

from msgspec import Raw

from plughost_protocol import Ack, Error, Message, Progress, Result, encode, frame_header
from plughost_sdk import Plugin, current_call

plugin = Plugin()


def _send(message: Message) -> None:
    payload = encode(message)
    os.write(4, frame_header(len(payload)) + payload)


@plugin.tool
async def result_of_no_call() -> None:
    _send(Result(1_000_000, Raw(encode("forged"))))
    await asyncio.Event().wait()


@plugin.tool
async def error_of_no_call() -> None:
    _send(Error(1_000_000, "tool_error", "forged"))
    await asyncio.Event().wait()


@plugin.tool
async def ack_of_no_call() -> None:
    _send(Ack(1_000_000))
    await asyncio.Event().wait()


@plugin.tool
async def ack_again() -> None:
    _send(Ack(1))
    await asyncio.Event().wait()


@plugin.tool
async def twice() -> str:
    """Its caller gets the first answer, nobody the second."""
    _send(Result(current_call().id, Raw(encode("first"))))
    return "second"


@plugin.tool
async def for_another() -> None:
    """Answers the call before this one, which is open too. The host cannot tell."""
    _send(Result(current_call().id - 1, Raw(encode("not yours"))))


@plugin.tool
async def wait() -> None:
    await asyncio.Event().wait()


@plugin.tool
async def late() -> str:
    """Swallows its cancellation and answers after the deadline."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return "better late than never"
    return ""


@plugin.tool
async def progress_after_the_end() -> None:
    call = current_call().id
    asyncio.get_running_loop().call_soon(lambda: _send(Progress(call, 1.0)))
    asyncio.get_running_loop().call_later(0.01, lambda: _send(Progress(call, 2.0)))
