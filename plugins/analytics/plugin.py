"""Counts events in named metrics.

With the permissions for storage they are kept: every two seconds that something is counted in,
and when the plugin is unloaded. A crash can cost what was counted since. Without the permissions
a new worker begins at nothing.
"""

import asyncio
from collections.abc import Mapping
from contextvars import Context
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from plughost_sdk import HostError, PermissionDenied, Plugin, PluginAPI, ToolError, tool

Number: TypeAlias = int | float
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]

_SAVE_EVERY: Final = 2.0  # seconds: 30 operations a minute, of the 100 that a plugin has
_KEY: Final = "metrics"
_MAX_TOTAL: Final = 2**53  # from there on, adding 1 to a float changes nothing


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """What the operator may configure."""

    max_metrics: Annotated[int, Meta(ge=1, le=100_000)] = 1_000


class Tracked(Struct):
    """The answer to an event: its metric, and the metric's new value."""

    success: bool
    event: str
    value: Number


class Analytics(Plugin):
    """The metrics and their tools."""

    def __init__(self) -> None:
        self._metrics: dict[str, Number] = {}
        self._config = Config()
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def on_configure(self, config: Mapping[str, Any]) -> None:
        self._config = msgspec.convert(config, Config)

    async def on_load(self, api: PluginAPI) -> None:
        self._config = msgspec.convert(api.config, Config)
        try:
            self._metrics = await api.storage.get(_KEY, {})
        except PermissionDenied:
            return
        # Not in the context of this call: what it asks of the host is not asked for a call.
        self._keeper = asyncio.create_task(self._keep(api), context=Context())

    async def on_unload(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            if self._changed.is_set():
                await self._save(self.api)
        self._metrics.clear()

    async def _keep(self, api: PluginAPI) -> None:
        while await self._changed.wait():
            await asyncio.sleep(_SAVE_EVERY)
            self._changed.clear()
            await self._save(api)

    async def _save(self, api: PluginAPI) -> None:
        try:
            await api.storage.set(_KEY, self._metrics)
        except HostError as exc:  # the next event has it tried again
            api.logger.warning("the metrics are not kept: %s", exc)

    @tool(name="getMetrics")
    async def get_metrics(self, metric: Name | None = None) -> dict[str, Number] | Number:
        """Get the value of one metric, or all metrics by name.

        Args:
            metric: The metric; its value is 0 as long as nothing was tracked.
        """
        if metric is None:
            return dict(self._metrics)
        return self._metrics.get(metric, 0)

    @tool(name="trackEvent")
    async def track_event(self, event: Name, value: Number = 1) -> Tracked:
        """Add an event to the metric of its name.

        Args:
            event: The event's name.
            value: What it adds; less than 0 takes away.
        """
        if event not in self._metrics and len(self._metrics) >= self._config.max_metrics:
            raise ToolError(
                f"there are {len(self._metrics)} metrics already: use one of their names, "
                "or let the operator raise max_metrics",
                code="too_many_metrics",
            )
        total = self._metrics.get(event, 0) + value
        # This way round it also refuses what is not a number.
        if not abs(total) < _MAX_TOTAL:
            raise ToolError(
                f"{event} would become {total}: a metric stays within 2**53 of 0, "
                "where each step of 1 still counts",
                code="out_of_range",
            )
        self._metrics[event] = total
        self._changed.set()
        return Tracked(success=True, event=event, value=total)
