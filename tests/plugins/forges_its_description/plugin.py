"""Answers plugin.load itself, past the SDK, with what its config asks for.

`description`: a tool's name that breaks the rules, which the SDK would have refused.
`twice`: one tool twice. `extra`: a field that nobody knows. `many`: 20,000 tools.
"""

import os

from msgspec import Raw

from plughost_protocol import Result, encode, frame_header
from plughost_sdk import Plugin, PluginAPI

_TOOL = {"name": "tool", "input_schema": {"type": "object"}}
_FORGERIES = {
    "name": {"tools": [_TOOL | {"name": "../../etc/passwd\n"}]},
    "twice": {"tools": [_TOOL, _TOOL]},
    "extra": {"tools": [_TOOL | {"run_as": "root"}]},
    "number": 7,
    "many": {"tools": [_TOOL | {"name": f"tool_{n}"} for n in range(20_000)]},
}


class Forges(Plugin):
    async def on_load(self, api: PluginAPI) -> None:
        value = encode(_FORGERIES[api.config["forgery"]])
        payload = encode(Result(1, Raw(value)))  # plugin.load is the host's first call
        os.set_blocking(4, True)
        os.write(4, frame_header(len(payload)) + payload)
        os.set_blocking(4, False)
