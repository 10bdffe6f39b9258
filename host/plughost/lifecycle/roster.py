"""The plugins of one host: which there are, who needs whom, and the start and end of all."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import anyio

from plughost.catalog.discovery import Found, Refused, discover, start_order
from plughost.errors import StartFailed
from plughost.rpc.worker import Worker
from plughost.supervision.logbook import LogBook, LogEntry

from .plugin import HostedPlugin
from .states import State
from .surroundings import Surroundings

__all__ = ["Roster"]

_log: Final = logging.getLogger("plughost")


class Roster:
    """All plugins by id, whatever their state."""

    def __init__(
        self, folders: Iterable[Path], on_log: Callable[[LogEntry], None] | None = None
    ) -> None:
        self.plugins: dict[str, HostedPlugin] = {}
        self.refused: list[Refused] = []
        """The folders that hold no acceptable plugin."""
        self.folders = list(folders)
        self.is_closing = False
        """Whether the host stops: nothing is started any more."""
        self._on_log = on_log
        self._surroundings: Surroundings

    def fill(self, surroundings: Surroundings) -> None:
        """Find what there is."""
        self._surroundings = surroundings
        found, self.refused = discover(self.folders)
        for plugin in found:
            self.add(plugin)
        for refused in self.refused:
            _log.error("%s", refused.error)

    def add(self, found: Found) -> HostedPlugin:
        """Make one of them; it is not started."""
        plugin_id = found.manifest.id
        limits = self._surroundings.config.limits_of(plugin_id)
        plugin = HostedPlugin(found, LogBook(plugin_id, limits, self._on_log), self._surroundings)
        self.plugins[plugin_id] = plugin
        self.refused = [refused for refused in self.refused if refused.root != found.root]
        return plugin

    @property
    def roots(self) -> list[Path]:
        """Their folders."""
        return [plugin.found.root for plugin in self.plugins.values()]

    def live_workers(self) -> list[Worker]:
        """All workers of all of them."""
        return [worker for plugin in self.plugins.values() for worker in plugin.workers]

    def may_start(self, plugin_id: str) -> bool:
        """Whether the operator wants it started with all others."""
        return self._surroundings.config.of(plugin_id).enabled

    # Who needs whom

    def order(self) -> tuple[list[str], dict[str, str]]:
        """The ids, dependencies first, and for each that cannot start the reason."""
        return start_order({plugin_id: p.found for plugin_id, p in self.plugins.items()})

    def sorted(self, plugin_ids: Iterable[str]) -> list[str]:
        """These ids, dependencies first; unknown ones at the end."""
        order = {plugin_id: place for place, plugin_id in enumerate(self.order()[0])}
        return sorted(plugin_ids, key=lambda plugin_id: order.get(plugin_id, len(order)))

    def needed_by(self, plugin_id: str) -> list[str]:
        """Those that run and need it, directly or not, in the order in which they may go."""
        needy = {plugin_id}
        order = self.order()[0]
        for other in order:
            needs = self.plugins[other].found.manifest.dependencies
            if needy.intersection(needs) and self.plugins[other].is_wanted:
                needy.add(other)
        return [other for other in reversed(order) if other in needy and other != plugin_id]

    def lacks(self, found: Found) -> str:
        """Why what it depends on keeps it from running; empty where nothing does."""
        for needed in found.manifest.dependencies:
            if needed not in self.plugins:
                return f"it needs {needed}, which is not installed"
            if not self.plugins[needed].is_wanted:
                return f"it needs {needed}, which does not run"
        return ""

    # All of them

    async def start_all(self) -> None:
        """Start them, side by side, each after those that it needs."""
        order, refused = self.order()
        started = {plugin_id: anyio.Event() for plugin_id in order}

        async def start(plugin: HostedPlugin) -> None:
            try:
                for needed in plugin.found.manifest.dependencies:
                    if needed in started:
                        await started[needed].wait()
                    if needed not in started or self.plugins[needed].active_worker is None:
                        plugin.refuse(f"it needs {needed}, which does not run")
                        return
                await plugin.start()
            except StartFailed:
                pass  # the plugin's state, its log and `problems` say so
            finally:
                started[plugin.id].set()

        async with anyio.create_task_group() as tasks:
            for plugin_id in order:
                plugin = self.plugins[plugin_id]
                if not self.may_start(plugin_id):
                    await plugin.disable()
                    started[plugin_id].set()
                elif plugin_id in refused:
                    plugin.refuse(refused[plugin_id])
                    started[plugin_id].set()
                else:
                    tasks.start_soon(start, plugin)

    async def stop_all(self, drain: float) -> None:
        """Stop them, side by side, and for good; open calls have `drain` seconds."""
        self.is_closing = True
        async with anyio.create_task_group() as tasks:
            for plugin in self.plugins.values():
                tasks.start_soon(plugin.stop, drain)

    def in_state(self, *states: State) -> Sequence[str]:
        """The ids of those in one of these states, dependencies first."""
        found = [plugin_id for plugin_id, plugin in self.plugins.items() if plugin.state in states]
        return self.sorted(found)
