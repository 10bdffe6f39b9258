"""What one has plugins do while the host runs: load, unload, reload, enable, disable.

Commands on one plugin are done one after the other. Each has a deadline, those included that it
waits for, and one outcome.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from plughost.catalog.discovery import Found, discover
from plughost.catalog.manifest import MANIFEST, read_manifest
from plughost.catalog.start_order import start_order
from plughost.errors import (
    CommandTimeout,
    HostMisuse,
    ManifestError,
    PlughostError,
    StartFailed,
    StillNeeded,
    UnknownPlugin,
)

from .canary import Canary
from .plugin import HostedPlugin
from .roster import Roster
from .states import State

__all__ = ["COMMANDS", "DEADLINE", "CommandOutcome", "Commands"]

COMMANDS: Final = ("load", "unload", "reload", "enable", "disable")
DEADLINE: Final = 60.0
"""Seconds that a command has if nobody says otherwise."""

_DRAIN: Final = 10.0  # seconds that open calls have when their plugin is unloaded
_LOADABLE: Final = (State.UNLOADED, State.ERROR)


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How a command on one of several plugins ended."""

    command: str
    plugin: str
    """Its id; of a folder that holds no plugin, its path."""
    state: str = ""
    """The plugin's, afterwards."""
    version: str = ""
    error: PlughostError | None = None
    canary: str = ""
    """The version that is on trial beside that one."""


class Commands:
    """The commands on the plugins of one host."""

    def __init__(
        self, roster: Roster, on_reload_failed: Callable[[str, PlughostError], object]
    ) -> None:
        self._roster = roster
        self._plugins = roster.plugins
        self._on_reload_failed = on_reload_failed

    # One plugin

    async def load(self, plugin: str | PathLike[str], deadline: float = DEADLINE) -> list[str]:
        """Start a plugin that does not run, or those in a folder; their ids.

        Manifests are read anew. Raises `UnknownPlugin`, `ManifestError`, `StartFailed`,
        `HostMisuse` for one that runs, `CommandTimeout`.
        """
        if isinstance(plugin, str) and plugin in self._plugins:
            await self._load_known(self._plugins[plugin], deadline)
            return [plugin]
        found = await anyio.to_thread.run_sync(self._find, plugin)
        loaded = []
        for one in _in_order(found):
            known = self._plugins.get(one.manifest.id)
            if known is not None and known.found.code != one.code:
                taken = f"id: {one.manifest.id!r} is taken by {known.found.code}"
                raise ManifestError(one.file or one.root / MANIFEST, [taken])
            await self._load_known(known or self._roster.add(one), deadline)
            loaded.append(one.manifest.id)
        return loaded

    async def unload(
        self, plugin_id: str, deadline: float = DEADLINE, *, cascade: bool = False
    ) -> list[str]:
        """Stop a plugin, with `cascade` after those that need it; the ids, in that order.

        Raises `UnknownPlugin`, `StillNeeded`, `CommandTimeout`.
        """
        plugin = self._roster.plugin(plugin_id)
        needed_by = self._roster.needed_by(plugin_id)
        if needed_by and not cascade:
            raise StillNeeded(plugin_id, needed_by)
        gone = []
        for one in [*(self._plugins[other] for other in needed_by), plugin]:
            await one.turns.take("unload", deadline, partial(one.stop, _DRAIN))
            gone.append(one.id)
        return gone

    async def reload(
        self, plugin_id: str, deadline: float = DEADLINE, canary: Canary | None = None
    ) -> None:
        """Read a plugin's folder anew, and put what is there in the place of what runs.

        What runs serves until then, and goes on if that fails; one that does not run is started.
        With a canary, what is new is tried out first. Raises as `load` does.
        """
        plugin = self._roster.plugin(plugin_id)
        try:
            await plugin.turns.take("reload", deadline, lambda: self._reload(plugin, canary))
        except PlughostError as exc:
            self._on_reload_failed(plugin_id, exc)
            raise

    async def promote(self, plugin_id: str, deadline: float = DEADLINE) -> None:
        """Put what is on trial in the place of what runs. Raises `HostMisuse`, `StartFailed`."""
        plugin = self._roster.plugin(plugin_id)
        await plugin.turns.take("promote", deadline, lambda: self._promote(plugin))

    async def roll_back(self, plugin_id: str, deadline: float = DEADLINE) -> None:
        """End the trial of a new version. Raises `HostMisuse`."""
        plugin = self._roster.plugin(plugin_id)
        await plugin.turns.take("roll_back", deadline, lambda: self._roll_back(plugin))

    async def enable(self, plugin_id: str, deadline: float = DEADLINE) -> None:
        """Have a plugin called again that was disabled. Raises `StartFailed`, `HostMisuse`."""
        plugin = self._roster.plugin(plugin_id)
        await plugin.turns.take("enable", deadline, lambda: self._enable(plugin))

    async def disable(self, plugin_id: str, deadline: float = DEADLINE) -> None:
        """Have a plugin not called, with its worker kept. Raises `HostMisuse`."""
        plugin = self._roster.plugin(plugin_id)
        await plugin.turns.take("disable", deadline, lambda: self._disable(plugin))

    async def activate(self, command: str, deadline: float = DEADLINE) -> list[str]:
        """Start the plugins that name this command; their ids.

        Raises `NotRunning` for one that cannot be started, `CommandTimeout`.
        """
        named = [p for p in self._plugins.values() if command in p.activation.commands]
        for plugin in named:
            try:
                await plugin.wait_for_worker(deadline)
            except TimeoutError:
                raise CommandTimeout(plugin.id, "activate", deadline, "") from None
        return [plugin.id for plugin in named]

    # Many

    async def run(
        self,
        command: str,
        plugins: Iterable[str | PathLike[str]] | None = None,
        deadline: float = DEADLINE,
        *,
        cascade: bool = False,
        canary: Canary | None = None,
    ) -> list[CommandOutcome]:
        """Do it to each of these plugins, or to all that it can be done to; the outcomes.

        In the order of their dependencies, whatever becomes of the others. The deadline is each
        one's own. A canary is for reloads.
        """
        if command not in COMMANDS:
            raise HostMisuse(f"there is no command {command!r}; there are {', '.join(COMMANDS)}")
        if canary is not None and command != "reload":
            raise HostMisuse(f"a canary goes with the command reload, not with {command}")
        if plugins is None:
            names = await self._all_for(command)
        else:
            names = [fspath(plugin) for plugin in plugins]
        outcomes: list[CommandOutcome] = []
        for name in self._in_order(command, names):
            if any(outcome.plugin == name for outcome in outcomes):  # it was taken along
                continue
            try:
                done = await self._run_one(command, name, deadline, canary, cascade=cascade)
            except PlughostError as exc:
                outcomes.append(self._outcome(command, name, exc))
            else:
                outcomes += [self._outcome(command, plugin_id) for plugin_id in done]
        return outcomes

    async def _run_one(
        self, command: str, name: str, deadline: float, canary: Canary | None, *, cascade: bool
    ) -> list[str]:
        if command == "load":
            return await self.load(name, deadline)
        if command == "unload":
            return await self.unload(name, deadline, cascade=cascade)
        if command == "reload":
            await self.reload(name, deadline, canary)
            return [name]
        act: Callable[[str, float], Awaitable[None]] = getattr(self, command)
        await act(name, deadline)
        return [name]

    async def _all_for(self, command: str) -> list[str]:
        """The ids of those to which it can be done now."""
        match command:
            case "load":
                found, _ = await anyio.to_thread.run_sync(discover, self._roster.folders)
                for one in found:
                    if one.manifest.id not in self._plugins:
                        self._roster.add(one)
                names = self._roster.in_state(*_LOADABLE)
                return list(filter(self._roster.may_start, names))
            case "unload":
                return [name for name in self._plugins if self._plugins[name].is_wanted]
            case "reload":
                return list(self._roster.in_state(State.ACTIVE, State.RESTARTING))
            case "enable":
                return list(self._roster.in_state(State.DISABLED))
        return list(self._roster.in_state(State.ACTIVE, State.SLEEPING))

    def _in_order(self, command: str, names: Sequence[str]) -> list[str]:
        order = self._roster.sorted(dict.fromkeys(names))
        return order[::-1] if command in ("unload", "disable") else order

    def _outcome(
        self, command: str, name: str, error: PlughostError | None = None
    ) -> CommandOutcome:
        plugin = self._plugins.get(name)
        if plugin is None:
            return CommandOutcome(command, name, error=error)
        canary = "" if plugin.trial is None else plugin.trial.version
        return CommandOutcome(command, name, plugin.state.value, plugin.version, error, canary)

    # Steps

    def _find(self, place: str | PathLike[str]) -> list[Found]:
        """The plugins in a folder, or the one of this id that has come into the host's folders."""
        folder = Path(fspath(place))
        if isinstance(place, str) and "/" not in place and not folder.exists():
            found = [one for one in discover(self._roster.folders)[0] if one.manifest.id == place]
            if not found:
                raise UnknownPlugin(place, self._plugins)
            return found
        found, refused = discover([folder])
        if refused:
            raise refused[0].error
        return found

    async def _load_known(self, plugin: HostedPlugin, deadline: float) -> None:
        await plugin.turns.take("load", deadline, lambda: self._load(plugin))

    def _check_open(self) -> None:
        if self._roster.is_closing:
            raise HostMisuse("the host is stopping: it starts nothing any more")

    async def _load(self, plugin: HostedPlugin) -> None:
        self._check_open()
        if plugin.state not in _LOADABLE:
            remedy = {State.DISABLED: "enable it"}.get(plugin.state, "reload it")
            raise HostMisuse(f"plugin {plugin.id!r} is {plugin.state}: {remedy} instead")
        found = await _read_again(plugin)
        if (lacks := self._roster.lacks(found)) and plugin.state is State.UNLOADED:
            plugin.refuse(lacks)
        self._check_dependencies(found)
        await self._start(plugin, found)

    async def _start(self, plugin: HostedPlugin, found: Found) -> None:
        try:
            await plugin.start(found)
        except BaseException:
            if plugin.state is State.LOADING:  # nobody waits for it any more
                await plugin.stop()
            raise

    async def _reload(self, plugin: HostedPlugin, canary: Canary | None) -> None:
        self._check_open()
        await plugin.settled()
        if plugin.state in _LOADABLE and canary is None:
            await self._load(plugin)
            return
        if not plugin.can_be_swapped:
            remedy = ": enable it first" if plugin.state is State.DISABLED else ""
            if plugin.state in _LOADABLE:
                remedy = ", and a canary runs beside a version that runs: load it without one"
            raise HostMisuse(f"plugin {plugin.id!r} is {plugin.state}{remedy}")
        try:
            found = await (_read_again(plugin) if canary is None else _read_new(plugin, canary))
            self._check_dependencies(found)
        except PlughostError as exc:
            plugin.keep(exc.reason if isinstance(exc, StartFailed) else str(exc))
            raise
        if canary is None:
            await plugin.swap(found)
        else:
            await plugin.try_out(found, canary)

    async def _promote(self, plugin: HostedPlugin) -> None:
        self._check_open()
        await plugin.settled()
        await plugin.promote("by hand")

    async def _roll_back(self, plugin: HostedPlugin) -> None:
        if plugin.trial is None:
            raise HostMisuse(f"no canary of plugin {plugin.id!r} runs")
        plugin.roll_back("by hand")

    async def _enable(self, plugin: HostedPlugin) -> None:
        self._check_open()
        if plugin.state is not State.DISABLED:
            remedy = ": load it instead" if plugin.state in _LOADABLE else ", not disabled"
            raise HostMisuse(f"plugin {plugin.id!r} is {plugin.state}{remedy}")
        await plugin.enable()

    async def _disable(self, plugin: HostedPlugin) -> None:
        await plugin.settled()
        if plugin.state is State.DISABLED:
            raise HostMisuse(f"plugin {plugin.id!r} is disabled already")
        await plugin.disable()

    def _check_dependencies(self, found: Found) -> None:
        if lacks := self._roster.lacks(found):
            raise StartFailed(found.manifest.id, lacks)


async def _read_again(plugin: HostedPlugin) -> Found:
    """The plugin as its folder has it by now. Raises `ManifestError`."""
    found = plugin.found
    if found.text is not None:  # it lies in no folder
        return found
    if not await anyio.to_thread.run_sync(found.code.exists):
        raise ManifestError(found.code, ["is gone: put it back; what runs of it runs on"])
    manifest = await anyio.to_thread.run_sync(read_manifest, found.code)
    if manifest.id != plugin.id:
        changed = f"id: it is {manifest.id!r} now, and {plugin.id!r} was loaded from here"
        path = found.file or found.root / MANIFEST
        raise ManifestError(path, [f"{changed}: unload that one, or change it back"])
    return replace(found, manifest=manifest)


async def _read_new(plugin: HostedPlugin, canary: Canary) -> Found:
    """The version that is to be tried out. Raises `ManifestError`, `HostMisuse`."""
    if plugin.found.text is not None:
        raise HostMisuse(f"plugin {plugin.id!r} came out of a text: there is no new version of it")
    if canary.path is None:
        return await _read_again(plugin)
    path = Path(fspath(canary.path))
    found, refused = await anyio.to_thread.run_sync(discover, [path])
    for one in found:
        if one.manifest.id == plugin.id:
            return one
    if refused:
        raise refused[0].error
    raise HostMisuse(f"there is no plugin {plugin.id!r} in {path}")


def _in_order(found: Sequence[Found]) -> list[Found]:
    """Dependencies first."""
    by_id = {one.manifest.id: one for one in found}
    return [by_id[plugin_id] for plugin_id in start_order(by_id).ids]
