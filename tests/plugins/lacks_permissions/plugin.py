"""Offers a tool and calls others without having asked for either permission."""

from plughost_sdk import Plugin, PluginAPI


class Lacks(Plugin):
    async def on_load(self, api: PluginAPI) -> None:
        if api.config.get("offers"):
            await api.register_tool(self.offer)

    async def offer(self) -> int:
        return 1
