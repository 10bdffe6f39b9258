"""The Model Context Protocol's Python SDK: its client and its low-level server over stdio."""

from base64 import b64decode, b64encode
from typing import Any

import psutil
from mcp import Client, StdioServerParameters

from benchmarks.drivers import run_in_tasks
from benchmarks.spawn import worker_command

__all__ = ["McpPeer"]

_TIMEOUT = 30.0  # seconds a call; plughost's default too


class McpPeer:
    """`mcp.Client` as documented: version negotiation, then `call_tool` with a read timeout.

    In flight: 64 tasks that call in a loop. MCP is JSON, so echoed bytes travel as base64.
    """

    async def start(self) -> None:
        command, *arguments = worker_command("mcp")
        server = StdioServerParameters(command=command, args=arguments)
        self._client = Client(server, read_timeout_seconds=_TIMEOUT)
        await self._client.__aenter__()

    async def call(self, a: int, b: int) -> int:
        result = await self._client.call_tool("add", {"a": a, "b": b})
        # None after an error, which the drivers then name.
        structured: dict[str, Any] = result.structured_content or {"result": None}
        answer: int = structured["result"]
        return answer

    async def echo(self, data: bytes) -> bytes:
        text = b64encode(data).decode("ascii")
        result = await self._client.call_tool("echo", {"data": text})
        return b64decode(result.content[0].text)

    async def many(self, calls: int, in_flight: int) -> None:
        await run_in_tasks(self.call, calls, in_flight)

    def worker_pids(self) -> list[int]:
        # The client does not tell; the server is the only child that this process has.
        return [child.pid for child in psutil.Process().children()]

    async def stop(self) -> None:
        await self._client.__aexit__(None, None, None)
