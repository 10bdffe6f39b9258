"""Takes the event loop of the worker apart."""

import asyncio
from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def stop() -> str:
    asyncio.get_running_loop().stop()
    return "stopped?"


@plugin.tool
async def close() -> str:
    loop: Any = asyncio.get_running_loop()
    loop.stop()
    loop.call_soon(loop.stop)
    loop._selector.close()  # this is the point
    return "closed?"


@plugin.tool
async def remove_the_reader() -> str:
    asyncio.get_running_loop().remove_reader(3)
    return "deaf"


@plugin.tool
async def cancel_all_tasks() -> str:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)
    return "cancelled"
