"""Leaves a daemon behind: forked twice, in a session of its own, deaf to signals."""

import os
import signal
import time
from contextlib import suppress

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def leave() -> int:
    """The daemon's process id."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        os.write(writing, str(os.getpid()).encode())
        os.close(writing)
        while True:
            time.sleep(3600)  # noqa: ASYNC251 - in the daemon
    os.close(writing)
    os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
    with os.fdopen(reading) as pipe:
        return int(pipe.read())


@plugin.tool
async def leave_writing() -> int:
    """As `leave`, but the daemon writes frames to the worker's pipe for ever; then it dies."""
    child = os.fork()
    if child == 0:
        os.setsid()
        os.set_blocking(4, True)
        if os.fork():
            os._exit(0)
        while True:
            os.write(4, b"\x00\x00\x00\x03\x92\x0c\x00" * 500)  # pings
    os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
    os._exit(3)
