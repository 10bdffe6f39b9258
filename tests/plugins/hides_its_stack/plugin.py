"""Takes away what the host looks through: faulthandler, the signals, the descriptors."""

import faulthandler
import os
import signal
import time

from plughost_protocol.launch import STACK_SIGNAL_OFFSET
from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def mask_and_hang() -> None:
    faulthandler.disable()
    faulthandler.unregister(signal.SIGRTMIN + STACK_SIGNAL_OFFSET)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    time.sleep(3600)  # noqa: ASYNC251 - this is the point


@plugin.tool
async def forge_and_hang() -> None:
    """Writes a stack of its own making to the descriptor for stacks."""
    faulthandler.unregister(signal.SIGRTMIN + STACK_SIGNAL_OFFSET)
    signal.signal(signal.SIGRTMIN + STACK_SIGNAL_OFFSET, signal.SIG_IGN)
    os.set_blocking(5, False)
    os.write(5, b"\x1b[31mit was the neighbour\r\n")
    time.sleep(3600)  # noqa: ASYNC251 - this is the point


@plugin.tool
def flood_and_hang() -> None:
    """Writes to it for ever."""
    faulthandler.unregister(signal.SIGRTMIN + STACK_SIGNAL_OFFSET)
    while True:
        os.write(5, b"x" * 4096)
