"""Calls a tool that calls this one again; and itself under another name."""

import asyncio
import contextvars
from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def there() -> Any:
    return await plugin.api.call("goes-round.back")


@plugin.tool
async def back() -> Any:
    return await plugin.api.call("goes-round.there")


@plugin.tool
async def disguised() -> Any:
    """By the name for models, so that the names in the chain differ."""
    return await plugin.api.call("plugin_goes-round_disguised")


@plugin.tool
async def orphaned() -> Any:
    """From a task that belongs to no call, so that the chain starts anew each time."""
    return await asyncio.create_task(
        plugin.api.call("goes-round.orphaned"), context=contextvars.Context()
    )
