"""Returns what cannot be sent, is too much to send, or is not what it declared."""

import datetime
from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def an_object() -> Any:
    return object()


@plugin.tool
async def a_set() -> Any:
    return {3}


@plugin.tool
async def a_huge_integer() -> Any:
    return 2**64


@plugin.tool
async def not_a_number() -> Any:
    return [float("nan"), float("inf")]


@plugin.tool
async def a_list_in_itself() -> Any:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    return cyclic


@plugin.tool
async def half_a_character() -> Any:
    return "\ud800"


@plugin.tool
async def deep() -> Any:
    value: Any = None
    for _ in range(100_000):
        value = [value]
    return value


@plugin.tool
async def fairly_deep() -> Any:
    """What Python's encoder still takes, and its decoder may not."""
    value: Any = None
    for _ in range(900):
        value = [value]
    return value


@plugin.tool
async def odd_keys() -> Any:
    return {(1, 2): 3}


@plugin.tool
async def many_tuple_keys() -> Any:
    return {(n,): n for n in range(1000)}


@plugin.tool
async def a_time_zone() -> Any:
    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@plugin.tool
async def hundred_megabytes() -> bytes:
    return b"x" * 100_000_000


@plugin.tool
async def too_many_values() -> Any:
    return [None] * 200_001


@plugin.tool
async def not_as_declared() -> int:
    return "seven"  # type: ignore[return-value] # this is the point


@plugin.tool
async def a_coroutine() -> Any:
    return plugin.on_load
