"""Declares two tools of one name."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def twin() -> int:
    return 1


@plugin.tool(name="twin")
async def other() -> int:
    return 2
