"""Goes on when its caller has gone."""

import asyncio
import time

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def on_the_loop() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("no", flush=True)  # noqa: T201 - it goes to the log


@plugin.tool
def in_a_thread() -> None:
    while True:
        time.sleep(0.01)


@plugin.tool
async def slow_to_stop() -> None:
    """Needs a moment to clean up, within the grace time."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.02)
