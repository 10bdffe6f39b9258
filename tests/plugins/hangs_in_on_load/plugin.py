"""Waits in on_load for what never comes, on the loop, so that the loop itself lives."""

import asyncio

from plughost_sdk import Plugin, PluginAPI


class Hangs(Plugin):
    async def on_load(self, api: PluginAPI) -> None:
        await asyncio.Event().wait()
