"""Ignores SIGTERM and the end of its pipe, and does not return from on_unload."""

import asyncio
import signal

from plughost_sdk import Plugin, PluginAPI, tool


class Ignores(Plugin):
    async def on_load(self, api: PluginAPI) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    async def on_unload(self) -> None:
        asyncio.get_running_loop().remove_reader(3)
        await asyncio.Event().wait()

    @tool
    async def hello(self) -> str:
        return "hello"
