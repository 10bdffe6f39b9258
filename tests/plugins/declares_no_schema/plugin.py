"""Declares an input schema that is none."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool(input_schema={"type": "object", "properties": {"n": {"type": "an integer"}}})
async def tool(n: int) -> int:
    return n
