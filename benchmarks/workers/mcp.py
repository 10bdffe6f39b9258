"""An MCP server of the SDK's low level on stdin and stdout, with two tools."""

import asyncio
from typing import Any

from mcp import types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

TOOLS = [
    types.Tool(
        name="add",
        input_schema={
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
        output_schema={
            "type": "object",
            "properties": {"result": {"type": "integer"}},
            "required": ["result"],
        },
    ),
    types.Tool(
        name="echo",
        input_schema={
            "type": "object",
            "properties": {"data": {"type": "string"}},
            "required": ["data"],
        },
    ),
]


async def list_tools(_context: Any, _params: Any) -> types.ListToolsResult:
    """Both tools."""
    return types.ListToolsResult(tools=TOOLS)


async def call_tool(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    """The sum, structured; or the same text."""
    arguments = params.arguments or {}
    if params.name == "add":
        result = {"result": arguments["a"] + arguments["b"]}
        return types.CallToolResult(content=[], structured_content=result)
    return types.CallToolResult(content=[types.TextContent(text=arguments["data"])])


async def main() -> None:
    """Serve until stdin ends."""
    server = Server("bench", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


asyncio.run(main())
