"""The plugins of one host: which there are, who needs whom, and the start and end of all."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from plughost.catalog.discovery import Discovered, Found, Refused, discover
from plughost.catalog.start_order import Need, StartOrder, start_order
from plughost.errors import CallTimeout, HostMisuse, NotRunning, StartFailed, UnknownPlugin
from plughost.rpc.worker import Worker
from plughost.supervision.logbook import LogBook, LogEntry

from .idling import Idling
from .plugin import HostedPlugin
from .states import State
from .surroundings import Surroundings

__all__ = ["Roster"]

_log: Final = logging.getLogger("plughost")


class Roster:
    """All plugins by id, whatever their state."""

    def __init__(
        self,
        folders: Sequence[Path] | None,
        there: Discovered | None = None,
        on_log: Callable[[LogEntry], None] | None = None,
    ) -> None:
        self.plugins: dict[str, HostedPlugin] = {}
        self.refused: list[Refused] = []
        """What is no acceptable plugin."""
        self.folders = folders
        """Where they are looked for; None for the search path."""
        self._there = there
        self.is_closing = False
        """Whether the host stops: nothing is started any more."""
        self._on_log = on_log
        self._surroundings: Surroundings | None = None

    async def look(self, *, anew: bool) -> Discovered:
        """What is in the folders; what was found before the host was made, unless `anew`."""
        if self._there is None or anew:
            return await anyio.to_thread.run_sync(discover, self.folders)
        return self._there

    def fill(self, surroundings: Surroundings, there: Discovered) -> None:
        """Take what there is."""
        self._surroundings, self._there = surroundings, None
        found, self.refused = there
        for plugin in found:
            self.add(plugin)
        for refused in self.refused:
            _log.error("%s", refused.error)

    @property
    def surroundings(self) -> Surroundings:
        """What all of them share, while the host runs."""
        if self._surroundings is None:
            raise HostMisuse("a host runs plugins inside of its `async with` block")
        return self._surroundings

    def plugin(self, plugin_id: str) -> HostedPlugin:
        """Raises `UnknownPlugin`, with the nearest name."""
        try:
            return self.plugins[plugin_id]
        except KeyError:
            raise UnknownPlugin(plugin_id, self.plugins) from None

    def not_running(self, plugin_id: str) -> NotRunning | None:
        """The error for a plugin that does not run, or a folder that holds none; else None."""
        if plugin := self.plugins.get(plugin_id):
            if plugin.state is State.ACTIVE or (plugin.state is State.SLEEPING and plugin.is_known):
                return None
            return NotRunning(plugin_id, plugin.state, plugin.error)
        for refused in self.refused:
            if refused.name == plugin_id:
                return NotRunning(plugin_id, "refused", str(refused.error))
        return None

    async def comes(self, plugin_id: str, within: float) -> None:
        """Return once a plugin takes calls. Raises `NotRunning`, `CallTimeout`."""
        if plugin_id not in self.plugins:  # a folder that holds none
            raise self.not_running(plugin_id) or UnknownPlugin(plugin_id, self.plugins)
        plugin = self.plugins[plugin_id]
        seconds = min(within, plugin.limits.call_timeout)
        try:
            await plugin.wait_for_worker(seconds)
        except TimeoutError:
            raise CallTimeout(plugin_id, seconds) from None

    def add(self, found: Found, around: Surroundings | None = None) -> HostedPlugin:
        """Make one of them; it is not started. `around` stands for what all share."""
        around = around or self.surroundings
        plugin_id = found.manifest.id
        limits = around.config.limits_of(plugin_id)
        plugin = HostedPlugin(found, LogBook(plugin_id, limits, self._on_log), around)
        self.plugins[plugin_id] = plugin
        self.refused = [refused for refused in self.refused if refused.root != found.code]
        return plugin

    @property
    def roots(self) -> list[Path]:
        """Their folders and files, those included of versions on trial."""
        plugins = self.plugins.values()
        tried = [plugin.trial.found.code for plugin in plugins if plugin.trial is not None]
        return [plugin.found.code for plugin in plugins] + tried

    def live_workers(self) -> list[Worker]:
        """All workers of all of them."""
        return [worker for plugin in self.plugins.values() for worker in plugin.workers]

    def may_start(self, plugin_id: str) -> bool:
        """Whether the operator wants it started with all others."""
        return self.surroundings.config.of(plugin_id).enabled

    # Who needs whom

    def order(self) -> StartOrder:
        """Who starts when, and who cannot."""
        found = {plugin_id: plugin.found for plugin_id, plugin in self.plugins.items()}
        return start_order(found, (refused.root.stem for refused in self.refused))

    def sorted(self, plugin_ids: Iterable[str]) -> list[str]:
        """These ids, dependencies first; unknown ones at the end."""
        order = {plugin_id: place for place, plugin_id in enumerate(self.order().ids)}
        return sorted(plugin_ids, key=lambda plugin_id: order.get(plugin_id, len(order)))

    def needed_by(self, plugin_id: str) -> list[str]:
        """Those that run and need it, directly or not, in the order in which they may go."""
        needy = {plugin_id}
        order = self.order()
        for other in order.ids:
            needs = (need for need in order.needs[other] if not need.dependency.optional)
            if self.plugins[other].is_wanted and any(needy.issuperset(n.plugins) for n in needs):
                needy.add(other)
        return [other for other in reversed(order.ids) if other in needy and other != plugin_id]

    def lacks(self, found: Found) -> str:
        """Why what it depends on keeps it from running; empty where nothing does."""
        plugin_id = found.manifest.id
        others = {name: plugin.found for name, plugin in self.plugins.items()}
        order = start_order(others | {plugin_id: found})
        if reason := order.refused.get(plugin_id):
            return reason
        unmet = (self._unmet(n, lambda one: one.is_wanted) for n in order.needs[plugin_id])
        return next(filter(None, unmet), "")

    def _unmet(self, need: Need, runs: Callable[[HostedPlugin], bool]) -> str:
        """Why a plugin cannot start that has this need; empty if it can."""
        candidates = [self.plugins[plugin_id] for plugin_id in need.plugins]
        if need.dependency.optional or any(map(runs, candidates)):
            return ""
        states = ", ".join(
            f"{plugin.id} is {plugin.state}" if need.dependency.is_service else plugin.state
            for plugin in candidates
        )
        disabled = [plugin.id for plugin in candidates if plugin.state is State.DISABLED]
        then = f": enable {' or '.join(disabled)} first" if disabled else ""
        return f"it needs {need.dependency.in_words()}, which does not run ({states}){then}"

    # All of them

    async def start_all(self, idling: Idling) -> None:
        """Start them, side by side, each after those that it needs; or let them sleep."""
        order = self.order()
        lazy = [plugin for plugin in self.plugins.values() if plugin.activation.is_lazy]
        known = await idling.read(lazy) if lazy else {}
        started = {plugin_id: anyio.Event() for plugin_id in order.ids}
        for plugin_id, notes in order.notes.items():
            for note in notes:
                self.plugins[plugin_id].log.note("info", note)

        async def start(plugin: HostedPlugin) -> None:
            try:
                for need in order.needs[plugin.id]:
                    for plugin_id in need.plugins:
                        await started[plugin_id].wait()
                    if problem := self._unmet(need, lambda one: one.is_available):
                        plugin.refuse(problem)
                        return
                if plugin.activation.is_lazy:
                    await idling.lay_down(plugin, known.get(plugin.id))
                else:
                    await plugin.start()
            except StartFailed:
                pass  # the plugin's state, its log and `problems` say so
            finally:
                started[plugin.id].set()

        async with anyio.create_task_group() as tasks:
            for plugin_id in order.ids:
                plugin = self.plugins[plugin_id]
                if not self.may_start(plugin_id):
                    await plugin.disable()
                    started[plugin_id].set()
                elif plugin_id in order.refused:
                    plugin.refuse(order.refused[plugin_id])
                    started[plugin_id].set()
                else:
                    tasks.start_soon(start, plugin)

    async def stop_all(self, drain: float) -> None:
        """Stop them, side by side, and for good; open calls have `drain` seconds."""
        self.is_closing = True
        async with anyio.create_task_group() as tasks:
            for plugin in self.plugins.values():
                tasks.start_soon(plugin.stop, drain)

    def forget(self, plugin: HostedPlugin) -> None:
        """Let there be no such plugin, now that it has stopped: its id is free."""
        del self.plugins[plugin.id]
        for registry in self.surroundings.registries:
            registry.on_forgotten(plugin.id)

    def in_state(self, *states: State) -> Sequence[str]:
        """The ids of those in one of these states, dependencies first."""
        found = [plugin_id for plugin_id, plugin in self.plugins.items() if plugin.state in states]
        return self.sorted(found)
