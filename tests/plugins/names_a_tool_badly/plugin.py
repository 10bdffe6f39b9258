"""Gives a tool a name that would forge a line and a path."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool(name="../x\nINFO all is well")
async def tool() -> int:
    return 1
