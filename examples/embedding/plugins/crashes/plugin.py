"""Reads memory that is not there, as a broken native library would."""

import ctypes

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
def misbehave() -> bytes:
    """Read from address 0."""
    return ctypes.string_at(0)


@plugin.tool(idempotent=True)
async def greet() -> str:
    """Say hello."""
    return "hello"
