"""Stops its own process, as the host's CPU watch would."""

import os
import signal

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def stop() -> str:
    os.kill(os.getpid(), signal.SIGSTOP)
    return "somebody woke me"
