"""What every host service is: a table of methods, and a part in the life of host and plugins."""

from collections.abc import Sequence

from plughost.services.router import ServiceMethod

__all__ = ["HostService"]


class HostService:
    """One service. The registries of what plugins offer each other are of the same kind."""

    methods: Sequence[ServiceMethod] = ()

    async def open(self) -> None:
        """Called once, before any plugin starts."""

    async def aclose(self) -> None:
        """Called once, after the last plugin has stopped."""

    def on_loading(self, plugin_id: str) -> None:
        """A worker is about to load the plugin: what is registered from now on is its own."""

    def on_active(self, plugin_id: str) -> None:
        """The plugin is loaded: what an earlier worker had registered is no longer there."""

    def on_died(self, plugin_id: str) -> None:
        """The plugin's worker died, and another one will be started."""

    def on_unloaded(self, plugin_id: str) -> None:
        """The plugin has stopped or was given up: nothing that it registered stays."""
