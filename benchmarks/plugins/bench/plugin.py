"""What the benchmarks call."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


@plugin.tool
async def echo(data: bytes) -> bytes:
    """The same bytes."""
    return data
