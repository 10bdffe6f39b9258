"""Ends its process in the middle of a call, in every way there is."""

import asyncio
import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def wait() -> None:
    await asyncio.Event().wait()


@plugin.tool(name="exit")
async def leave(code: int) -> None:
    print("goodbye", flush=True)  # noqa: T201 - it goes to the log
    os._exit(code)


@plugin.tool
def exit_in_a_thread() -> None:
    os._exit(5)


@plugin.tool
async def segfault() -> None:
    ctypes.string_at(0)


@plugin.tool
async def abort() -> None:
    os.abort()


@plugin.tool
async def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.Event().wait()


@plugin.tool
async def kill_its_session() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
    await asyncio.Event().wait()


@plugin.tool
async def overflow_the_stack() -> None:
    """Of C: Python's own limit is lifted first."""
    sys.setrecursionlimit(10**9)
    with suppress(ValueError):  # it may not; it then is as large as the host's
        resource.setrlimit(resource.RLIMIT_STACK, (8 << 20, 8 << 20))

    def deeper(value: list[object]) -> int:
        return len(sorted([value, value], key=lambda item: deeper(value)))

    deeper([])


@plugin.tool
async def answer_and_exit() -> str:
    """The answer is out before the end."""
    asyncio.get_running_loop().call_later(0.005, os._exit, 0)
    return "my last words"


@plugin.tool(idempotent=True)
async def exit_on_the_first_try() -> str:
    """Dies once: its first run leaves a file behind, in its own folder."""
    try:
        Path.home().joinpath("marker").touch(exist_ok=False)
    except FileExistsError:
        return "second try"
    os._exit(1)
