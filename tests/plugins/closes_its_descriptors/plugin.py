"""Closes the pipes to the host, and lives on."""

import asyncio
import os
import threading
import time

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def rpc_out() -> None:
    os.close(4)
    await asyncio.Event().wait()


@plugin.tool
async def rpc_in() -> None:
    asyncio.get_running_loop().remove_reader(3)
    os.close(3)
    await asyncio.Event().wait()


@plugin.tool
def everything() -> None:
    os.closerange(0, 64)
    time.sleep(3600)


@plugin.tool
async def everything_on_the_loop() -> None:
    os.closerange(0, 64)
    threading.Event().wait()  # and the loop with them


@plugin.tool
async def leak_until_none_is_left() -> str:
    """Opens files up to the limit. The error is the plugin's own."""
    while True:
        os.open("/dev/null", os.O_RDONLY)
