"""Allocates far more than it may: at once, bit by bit, and in child processes."""

import asyncio
import os
import time

from plughost_sdk import Plugin

plugin = Plugin()

_MIB = 1024 * 1024


@plugin.tool
async def at_once() -> int:
    """1 GiB, touched."""
    return len(b"x" * (1024 * _MIB))


@plugin.tool
async def slowly() -> int:
    """1 MiB at a time, for ever."""
    kept = []
    while True:
        kept.append(b"x" * _MIB)
        await asyncio.sleep(0.002)


@plugin.tool
async def by_mapping() -> int:
    """8 GiB of address space at once, which the kernel refuses."""
    return len(bytearray(8 * 1024 * _MIB))


@plugin.tool
async def through_children() -> int:
    """Six children of 60 MiB each, none of which is too large by itself."""
    for _ in range(6):
        if os.fork() == 0:
            kept = b"x" * (60 * _MIB)
            time.sleep(3600)  # noqa: ASYNC251 - in the child
            os._exit(len(kept) % 2)
    await asyncio.Event().wait()
    return 0
