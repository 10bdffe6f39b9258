"""Stops answering without ending."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def misbehave() -> None:
    """Never come back.

    It is async, so that it also stops the worker's loop: no cancel is heard any more.
    """
    while True:
        pass


@plugin.tool(idempotent=True)
async def greet() -> str:
    """Say hello."""
    return "hello"
