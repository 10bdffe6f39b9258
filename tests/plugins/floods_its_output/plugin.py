"""Writes without end to stdout and stderr, past Python's own streams."""

import os
import sys
import threading
import time

from plughost_sdk import Plugin

plugin = Plugin()


def _flood(fd: int, data: bytes) -> None:
    while True:
        os.write(fd, data)


def _start(fd: int, data: bytes) -> None:
    threading.Thread(target=_flood, args=(fd, data), daemon=True).start()


@plugin.tool
async def stdout() -> None:
    _start(1, b"noise\n" * 1000)


@plugin.tool
async def stderr() -> None:
    """Long lines: 100,000 characters each."""
    _start(2, b"e" * 100_000 + b"\n")


@plugin.tool
async def endless_line() -> None:
    """A line that never ends."""
    _start(1, b"x" * 65536)


@plugin.tool
async def nothing_but_line_ends() -> None:
    _start(1, b"\n" * 65536)


@plugin.tool
def close() -> None:
    """Close both, then print."""
    os.close(1)
    os.close(2)
    try:
        print("is anyone there?")  # noqa: T201 - it goes nowhere
        print("hello?", file=sys.stderr)  # noqa: T201 - it goes nowhere
    except OSError:
        time.sleep(0)
