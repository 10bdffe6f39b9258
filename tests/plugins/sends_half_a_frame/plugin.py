"""Sends the first half of a frame, and then nothing more."""

import asyncio
import os

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def half() -> None:
    os.write(4, b"\x00\x00\x01\x00" + b"x" * 128)
    await asyncio.Event().wait()


@plugin.tool
async def trickle() -> None:
    """A byte now and then, of a frame of 16 MB."""
    os.write(4, b"\x00\xf0\x00\x00")
    while True:
        os.write(4, b"x")
        await asyncio.sleep(0.02)
