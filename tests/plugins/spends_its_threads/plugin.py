"""Fills all its threads with tools that block, and does not let go when it is told to."""

import threading

from plughost_sdk import Plugin

plugin = Plugin()
_gate = threading.Event()


@plugin.tool
def block() -> bool:
    return _gate.wait()


@plugin.tool
def quick() -> int:
    return 1


@plugin.tool
async def on_the_loop() -> int:
    return 2


@plugin.tool
async def let_go() -> None:
    _gate.set()
