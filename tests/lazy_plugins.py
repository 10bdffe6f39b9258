"""Plugins that are started at their first use, for tests."""

from pathlib import Path
from typing import Any

from plughost import Host, HostConfig, Limits, State

from .conftest import sharing
from .event_plugins import UNLIMITED, eventually

COUNTS = """
    import os
    from plughost_sdk import Plugin

    class Counts(Plugin):
        async def on_load(self, api):
            starts = await api.storage.get("starts", 0)
            await api.storage.set("starts", starts + 1)

    plugin = Counts()

    @plugin.tool
    async def starts() -> int:
        '''How often it was loaded.'''
        return await plugin.api.storage.get("starts")

    @plugin.tool(idempotent=True)
    def pid() -> int:
        return os.getpid()
"""
STORES = ["tools:register", "storage:read", "storage:write"]

BUSY = """
    import asyncio
    from plughost_sdk import Plugin
    plugin = Plugin()

    @plugin.tool
    async def work() -> None:
        await plugin.api.events.emit("working")
        await asyncio.sleep(3600)
"""

LISTENS = """
    from plughost_sdk import Plugin

    plugin = Plugin()

    @plugin.on("order.*")
    async def on_order(event):
        await plugin.api.events.emit("handled", [event.name, event.data])

    @plugin.on("noise")
    async def on_noise(event):
        await plugin.api.events.emit("handled", [event.name, event.data])
"""


def lazy(tmp_path: Path, **limits: Any) -> HostConfig:
    limits.setdefault("idle_after", 1000.0)
    return sharing(state_folder=tmp_path / "state", rates=UNLIMITED, limits=Limits(**limits))


async def known(host: Host) -> None:
    """Return when it is known what all offer, awake or not."""
    await eventually(lambda: all(plugin.is_known for plugin in host.plugins.values()))


async def learned(host: Host) -> None:
    """Return when it is known what all offer, and they sleep."""
    plugins = host.plugins.values()
    await eventually(lambda: all(p.is_known and p.state is State.SLEEPING for p in plugins))
