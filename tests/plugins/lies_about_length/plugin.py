"""Announces a frame of 4 GB."""

import asyncio
import os

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def lie() -> None:
    os.write(4, b"\xff\xff\xff\xff" + b"x" * 100)
    await asyncio.Event().wait()
