"""Raises in on_load, with a cause."""

from plughost_sdk import Plugin, PluginAPI


class Raises(Plugin):
    async def on_load(self, api: PluginAPI) -> None:
        try:
            api.config["key"]
        except KeyError as exc:
            raise RuntimeError("no API key is configured") from exc
