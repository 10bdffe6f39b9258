"""Asks the host for more than it may, for more than there is, and all at once."""

import asyncio
import os
from typing import Any

from msgspec import Raw

from plughost_protocol import Call, encode, frame_header
from plughost_sdk import HostError, Plugin, PluginAPI

plugin = Plugin()


def _send(number: int, method: str, params: object) -> None:
    payload = encode(Call(number, method, Raw(encode(params))))
    os.write(4, frame_header(len(payload)) + payload)


async def _ask(method: str, params: object) -> str:
    try:
        await plugin.api._link.request(method, params)  # past the API's own checks
    except HostError as exc:
        return f"{exc.code}: {exc}"
    return "granted"


@plugin.tool
async def unknown_method() -> str:
    return await _ask("host.shut_down", None)


@plugin.tool
async def params_of_another_type() -> str:
    return await _ask("tools.execute", [1, 2, 3])


@plugin.tool
async def tool_params_that_are_a_list() -> str:
    return await _ask("tools.execute", {"tool": "steady.size", "params": ["data"]})


@plugin.tool
async def tool_params_with_an_extension() -> str:
    params = Raw(b"\x81\xa4data\xd4\x05\x00")
    return await _ask("tools.execute", {"tool": "steady.size", "params": params})


@plugin.tool
async def tool_params_too_many() -> str:
    params = {"data": [0] * 200_001}
    return await _ask("tools.execute", {"tool": "steady.size", "params": params})


@plugin.tool
async def frame_that_grows(to: str) -> str:
    """Parameters that just fit in the frame to the host, and not in the one to the neighbour."""
    params = {"data": b"x" * (16 * 1024 * 1024 - 80)}
    return await _ask("tools.execute", {"tool": to, "params": params})


@plugin.tool
async def neighbour_with_bad_params() -> str:
    return await _ask("tools.execute", {"tool": "steady.tick", "params": {"number": "one"}})


@plugin.tool
async def too_many_requests() -> None:
    """A hundred calls of its own endless tool, without waiting for one of them."""
    os.set_blocking(4, True)
    for number in range(1001, 1101):
        _send(number, "tools.execute", {"tool": "asks-for-too-much.answers", "params": {}})


@plugin.tool
async def answers() -> Any:
    return plugin.api.plugin_id


@plugin.tool
async def too_many_through_the_sdk() -> int:
    """A hundred requests at once by the SDK, which has them wait their turn."""

    async def one() -> bool:
        return bool(await plugin.api.call("steady.tick", {"number": 1}) == 2)

    return sum(await asyncio.gather(*(one() for _ in range(100))))


@plugin.tool
async def register_without_end() -> str:
    """Registers tools while it runs, until it is refused."""
    api: PluginAPI = plugin.api
    for number in range(1_000_000):
        try:
            await api.register_tool(answers, name=f"more_{number}")
        except HostError as exc:
            return f"{number} {exc}"
    return "never refused"
