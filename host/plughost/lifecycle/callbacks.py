"""How services and the exchange reach plugins, by their ids."""

from collections.abc import Mapping
from typing import Any

from plughost.services.plugins import WakenBy
from plughost.services.router import Request
from plughost_protocol import CallMeta, ToolSpec

from .plugin import HostedPlugin
from .states import State

__all__ = ["Callbacks"]


class Callbacks:
    """The `PluginCaller` of a host: finds the plugin by its id."""

    def __init__(self, plugins: Mapping[str, HostedPlugin]) -> None:
        self._plugins = plugins

    def active(self, plugin_id: str) -> bool:
        """Whether the plugin takes calls now."""
        plugin = self._plugins.get(plugin_id)
        return plugin is not None and plugin.active_worker is not None

    def wake(self, plugin_id: str, by: WakenBy) -> bool:
        """Whether the plugin takes calls now, or is started because of this."""
        return self._plugins[plugin_id].wake_by(by)

    def disabled(self, plugin_id: str) -> bool:
        """Whether someone has disabled the plugin."""
        return self._plugins[plugin_id].state is State.DISABLED

    def log(self, plugin_id: str, level: str, message: str) -> None:
        """Write into the plugin's log, within its rate."""
        self._plugins[plugin_id].log.write(level, "host", message)

    def note(self, plugin_id: str, level: str, message: str) -> None:
        """Write into the plugin's log what is the host's own to say, whatever the rate."""
        self._plugins[plugin_id].log.note(level, message)

    def register_tool(self, request: Request, spec: ToolSpec) -> None:
        """Have the plugin offer one more tool. Raises `OfferRefused`."""
        self._plugins[request.plugin_id].add_tool(request.worker, spec)

    def unregister_tool(self, request: Request, name: str) -> None:
        """Have the plugin offer a tool no more. Raises `UnknownTool`."""
        self._plugins[request.plugin_id].remove_tool(request.worker, name)

    async def call(
        self,
        plugin_id: str,
        method: str,
        params: object,
        *,
        label: str,
        timeout: float | None = None,
        meta: CallMeta | None = None,
        wait: bool = True,
    ) -> Any:
        """The answer of a handler of the plugin; see `PluginCaller`."""
        return await self._plugins[plugin_id].call_handler(
            method, params, label=label, timeout=timeout, meta=meta, wait=wait
        )
