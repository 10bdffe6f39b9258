"""Takes memory and gives none back."""

from plughost_sdk import Plugin

plugin = Plugin()
kept: list[bytes] = []


@plugin.tool
def misbehave() -> None:
    """Keep one megabyte after the other, all of them written to."""
    while True:
        kept.append(b"x" * 1_000_000)


@plugin.tool(idempotent=True)
async def greet() -> str:
    """Say hello."""
    return "hello"
