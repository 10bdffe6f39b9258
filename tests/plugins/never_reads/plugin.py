"""Blocks its loop, so that nothing reads its pipe any more."""

import time

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def block() -> None:
    time.sleep(3600)  # noqa: ASYNC251 - this is the point


@plugin.tool
async def take(data: bytes) -> int:
    return len(data)
