"""Writes small frames to its pipe as fast as it can, in a thread, past the SDK."""

import os
import threading

from msgspec import Raw

from plughost_protocol import Call as Request
from plughost_protocol import Message, Notify, Ping, Pong, Progress, Result, encode, frame_header
from plughost_sdk import Plugin, current_call

plugin = Plugin()


def _flood(*messages: Message) -> None:
    frames = b""
    for message in messages:
        payload = encode(message)
        frames += frame_header(len(payload)) + payload

    def run() -> None:
        os.set_blocking(4, True)
        while True:
            # Whole frames in one write that the pipe takes whole: no half ones in between.
            os.write(4, frames * max(1, 4096 // len(frames)))

    timer = threading.Timer(0.05, run)  # once the call is answered, which would come last
    timer.daemon = True
    timer.start()


@plugin.tool
async def pings() -> None:
    _flood(Ping(1))


@plugin.tool
async def pongs() -> None:
    _flood(Pong(1))


@plugin.tool
async def notifications() -> None:
    """On a topic that nobody knows."""
    _flood(Notify("weather", Raw(b"\xc0")))


@plugin.tool
async def progress() -> None:
    _flood(Progress(current_call().id, 1.0))


@plugin.tool
async def late_answers() -> None:
    """To plugin.load, which was answered long ago."""
    _flood(Result(1, Raw(b"\xc0")))


@plugin.tool
async def requests() -> None:
    """For a method that there is not, and never reads an answer: its loop stands still."""

    def frames(first: int) -> bytes:
        data = b""
        for number in range(first, first + 50):
            payload = encode(Request(number, "no.such.method", Raw(b"\xc0")))
            data += frame_header(len(payload)) + payload
        return data

    os.set_blocking(4, True)
    first = 1
    while True:
        os.write(4, frames(first))
        first += 50


@plugin.tool
async def pings_unread() -> None:
    """Pings whose answers it never reads: its loop stands still."""
    os.set_blocking(4, True)
    payload = encode(Ping(1))
    while True:
        os.write(4, (frame_header(len(payload)) + payload) * 500)
