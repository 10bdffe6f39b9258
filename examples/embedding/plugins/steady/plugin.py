"""Answers, whatever the other plugins do."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool(idempotent=True)
async def beat(number: int) -> int:
    """Give the number back."""
    return number
