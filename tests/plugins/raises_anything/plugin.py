"""Raises what is no Exception, what cannot be printed, and what is far too long."""

import asyncio
import sys
import threading
from typing import NoReturn

from plughost_sdk import Plugin, ToolError

plugin = Plugin()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("I will not be printed")

    __repr__ = __str__


class Rude(BaseException):
    """Nothing that `except Exception` catches."""


_KINDS: dict[str, BaseException] = {
    "base": Rude("out of my way"),
    "keyboard": KeyboardInterrupt(),
    "exit": SystemExit(3),
    "generator": GeneratorExit(),
    "cancelled": asyncio.CancelledError(),
    "stop": StopIteration(1),
    "stop_async": StopAsyncIteration(),
    "long": ValueError("x" * 10_000_000),
    "lines": ValueError("\n".join(["line"] * 100_000)),
    "unprintable": Unprintable(),
    "half": ValueError("half \ud800 a character"),
    "code": ToolError("long code", code="c" * 1000),
    "no_code": ToolError("no code", code=""),
    "odd_code": ToolError("odd code", code=7),  # type: ignore[arg-type] # this is the point
    "half_code": ToolError("half code", code="\ud800"),
    "group": BaseExceptionGroup("several", [Rude("one"), ValueError("two")]),
}


def _raise(kind: str) -> NoReturn:
    raise _KINDS[kind]


@plugin.tool
async def on_the_loop(kind: str) -> None:
    _raise(kind)


@plugin.tool
def in_a_thread(kind: str) -> None:
    _raise(kind)


@plugin.tool
async def chained() -> None:
    """Two thousand exceptions, each the cause of the next."""
    last: BaseException = ValueError("first")
    for number in range(2000):
        following = ValueError(f"{number}")
        following.__cause__ = last
        last = following
    raise last


@plugin.tool
async def chained_in_a_ring() -> None:
    """Two exceptions, each the cause of the other."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


@plugin.tool
async def exit_in_a_thread() -> str:
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    return "still here"


@plugin.tool
async def exit_in_a_callback() -> str:
    asyncio.get_running_loop().call_soon(sys.exit, 4)
    await asyncio.sleep(0.01)
    return "still here"


@plugin.tool
async def raise_in_a_callback() -> str:
    loop = asyncio.get_running_loop()
    loop.call_soon(_raise, "base")
    await asyncio.sleep(0.01)
    return "still here"
