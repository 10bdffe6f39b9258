"""The well-behaved neighbour: it answers, whatever the others do."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool(idempotent=True)
async def tick(number: int) -> int:
    return number + 1


@plugin.tool(idempotent=True)
async def size(data: bytes) -> int:
    return len(data)
