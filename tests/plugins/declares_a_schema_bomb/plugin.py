"""Declares a small schema that takes 2**60 steps to check."""

from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()

_LEVELS = 60
_DEFINITIONS: dict[str, Any] = {
    f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(_LEVELS)
}
_DEFINITIONS[f"d{_LEVELS}"] = {"type": "integer"}


@plugin.tool(
    input_schema={
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/d0"}},
        "$defs": _DEFINITIONS,
    }
)
async def tool(n: int) -> int:
    return n
