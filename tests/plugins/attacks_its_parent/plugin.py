"""Signals the processes above it: the template, and through it every other worker."""

import asyncio
import os
import signal

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def kill() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    await asyncio.Event().wait()


@plugin.tool
async def stop() -> None:
    """The template stands still: it forks and reaps no more."""
    os.kill(os.getppid(), signal.SIGSTOP)
    os._exit(9)
