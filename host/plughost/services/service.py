"""What every host service is: a table of methods, and a part in the life of host and plugins."""

from collections.abc import Mapping, Sequence

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
        """A worker is about to load the plugin: what one registers that is `LOADING` is the next
        generation. Another one may serve meanwhile, and what that one registers stands at once."""

    def on_active(self, plugin_id: str) -> None:
        """The plugin is loaded: what an earlier worker had registered is no longer there."""

    def on_swapped(self, plugin_id: str) -> None:
        """As `on_active`, and the worker before it lives still: it ends what it has begun.

        From here on it registers nothing: the router sees to that.
        """
        self.on_active(plugin_id)

    def on_new_version(self, plugin_id: str) -> None:
        """After `on_swapped`, where the plugin was read anew: what only its former version has
        asked for is no longer wanted."""

    def on_abandoned(self, plugin_id: str) -> None:
        """The new worker did not become active, and the one before it goes on: what the new one
        has registered is forgotten. May come without `on_loading`."""

    def on_asleep(self, plugin_id: str) -> None:
        """As `on_active`, and the plugin sleeps: what stands in for its worker has registered what
        stands from now on. A worker that is started when somebody needs it takes its place, as
        after a death."""
        self.on_active(plugin_id)

    def on_still_asleep(self, plugin_id: str) -> None:
        """What waits for the plugin could not start it so far, and may try again."""

    def on_canary(self, plugin_id: str, step: str, about: Mapping[str, object]) -> None:
        """A trial of a new version has `began`, or it was `promoted` or `rolled_back`."""

    def on_died(self, plugin_id: str) -> None:
        """The plugin's worker died, and another one will be started."""

    def on_unloaded(self, plugin_id: str) -> None:
        """The plugin has stopped or was given up: nothing that it registered stays."""

    def on_forgotten(self, plugin_id: str) -> None:
        """There is no such plugin any more, and its id may become another one's."""
