"""The plugin of the rehearsal."""

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b
