"""Never rests, in a thread, while its loop still answers."""

import threading
import time

from plughost_sdk import Plugin

plugin = Plugin()


def _burn() -> None:
    while True:
        pass


@plugin.tool
async def burn() -> float:
    """Start burning. Answers the CPU seconds used so far."""
    threading.Thread(target=_burn, daemon=True).start()
    return time.process_time()


@plugin.tool
async def used() -> float:
    """CPU seconds used so far."""
    return time.process_time()
