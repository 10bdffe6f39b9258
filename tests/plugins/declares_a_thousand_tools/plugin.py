"""Declares a thousand tools, each with a schema of its own."""

from plughost_sdk import Plugin

plugin = Plugin()


for number in range(1000):

    async def handler(**arguments: int) -> int:
        return sum(arguments.values())

    plugin.tool(
        name=f"tool_{number}",
        input_schema={
            "type": "object",
            "properties": {f"n{i}": {"type": "integer", "minimum": i} for i in range(5)},
        },
    )(handler)
