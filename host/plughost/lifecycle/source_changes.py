"""Plugins whose files have changed: each is loaded, swapped or unloaded, as they are by now."""

import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import anyio
import anyio.to_thread

from plughost.catalog.discovery import Found, Refused, discover
from plughost.catalog.manifest_files import has_manifest
from plughost.catalog.start_order import start_order
from plughost.errors import ManifestError, PlughostError
from plughost.exchange.tools import Tool

from .commands import Commands
from .plugin import HostedPlugin
from .roster import Roster
from .states import State

__all__ = ["ReloadOutcome", "SourceChanges"]

_log: Final = logging.getLogger("plughost.hot_reload")


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """What became of one plugin whose files have changed."""

    action: Literal["loaded", "reloaded", "unloaded", "failed"]
    plugin: str
    """Its id; of what is no plugin yet, the name of its folder or file."""
    path: Path
    """Its folder, or its only file."""
    version: str = ""
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    """What changed, by the path from its folder on."""
    added: tuple[str, ...] = ()
    """Its tools that there were not before."""
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Those with another schema or description."""
    also: tuple[str, ...] = ()
    """Plugins that needed it, and were unloaded before it."""
    goes_on: bool = False
    """Where it failed: whether the version before it serves still."""
    error: PlughostError | None = None


class SourceChanges:
    """Does what changes of plugins' files ask for."""

    def __init__(
        self,
        roster: Roster,
        commands: Commands,
        tools: Callable[[], Mapping[str, Tool]],
        on_outcome: Callable[[ReloadOutcome], None] | None = None,
    ) -> None:
        self.before: Callable[[], Awaitable[None]] | None = None
        """Awaited before plugins are loaded: for who reads their grants anew."""
        self.under_way: set[str] = set()
        """Those that are loaded or swapped now; an outcome will say what became of it."""
        self._roster = roster
        self._commands = commands
        self._tools = tools
        self._on_outcome = on_outcome
        self._taken: set[str] = set()
        """Those that were unloaded with what they need, and come back with it."""

    def plugins(self) -> list[HostedPlugin]:
        """Those that have files."""
        return [one for one in self._roster.plugins.values() if one.found.text is None]

    def refused(self) -> list[Refused]:
        """What is no acceptable plugin."""
        return self._roster.refused

    async def act_on(self, batch: Mapping[Path, tuple[str, ...]]) -> None:
        """Do what is due for these folders and files, in the order of their dependencies."""
        if self._roster.is_closing:
            return
        if self.before is not None:
            await self.before()
        found, gone = await anyio.to_thread.run_sync(_read, batch)
        known = {plugin.found.code: plugin for plugin in self.plugins()}
        for code in gone:
            if code in known:
                await self._unload(known[code], code)
            self._roster.refused = [one for one in self._roster.refused if one.root != code]
        done = {code: anyio.Event() for code in batch if code not in gone}

        async def act(code: Path, first: Iterable[Path]) -> None:
            for other in first:
                await done[other].wait()
            try:
                await self._one(code, known.get(code), found.get(code), batch[code])
            finally:
                done[code].set()

        async with anyio.create_task_group() as tasks:
            before: list[Path] = []
            for code in _in_order(found, done):
                mine = found.get(code)
                first = [o for o in before if mine and o in found and mine.depends_on(found[o])]
                tasks.start_soon(act, code, first)
                before.append(code)

    async def _one(
        self, code: Path, plugin: HostedPlugin | None, found: Found | None, files: tuple[str, ...]
    ) -> None:
        if plugin is not None:
            if plugin.state in (State.DISABLED, State.DRAINING):
                return
            if plugin.state is State.UNLOADED and plugin.id not in self._taken:
                return  # the operator's word holds
            reload = partial(self._commands.reload, plugin.id)
            await self._attempt(code, plugin.id, files, reload)
        elif any(code in other.found.hides for other in self.plugins()):
            return
        elif found is not None and self._is_to_be_disabled(found.manifest.id):
            await self._roster.add(found).disable()
        elif await anyio.to_thread.run_sync(_is_meant_as_plugin, code):
            name = code.name if found is None else found.manifest.id
            await self._attempt(code, name, files, partial(self._commands.load, code))

    async def _attempt(
        self,
        code: Path,
        name: str,
        files: tuple[str, ...],
        act: Callable[[], Awaitable[object]],
    ) -> None:
        """Do it, and tell what came of it."""
        before = self._tools_of(name)
        ran = self._runs(name)
        began = anyio.current_time()
        self.under_way.add(name)
        try:
            await act()
        except PlughostError as exc:
            self._note_refused(code, exc)
            plugin = self._roster.plugins.get(name)
            version = "" if plugin is None else plugin.version
            self._tell(
                ReloadOutcome(
                    "failed", name, code, version, files=files, goes_on=self._runs(name), error=exc
                )
            )
            return
        except Exception:  # noqa: BLE001 - our bug: the other plugins go on
            _log.exception("the changes of plugin %s were not taken", name)
            return
        finally:
            self.under_way.discard(name)
        self._taken.discard(name)
        # Where it lies there was perhaps no plugin before.
        self._roster.refused = [r for r in self._roster.refused if r.root != code.parent]
        after = self._tools_of(name)
        both = before.keys() & after.keys()
        plugin = self._roster.plugins[name]
        self._tell(
            ReloadOutcome(
                "reloaded" if ran else "loaded",
                name,
                code,
                plugin.version,
                anyio.current_time() - began,
                files,
                tuple(sorted(after.keys() - before.keys())),
                tuple(sorted(before.keys() - after.keys())),
                tuple(sorted(tool for tool in both if before[tool] != after[tool])),
            )
        )
        await self._revive(plugin)

    async def _unload(self, plugin: HostedPlugin, code: Path) -> None:
        """End a plugin whose files have gone, and what needs it."""
        if plugin.state is State.DISABLED or self._roster.plugins.get(plugin.id) is not plugin:
            return
        try:
            gone = await self._commands.unload(plugin.id, cascade=True)
        except PlughostError as exc:
            goes_on = self._runs(plugin.id)
            self._tell(
                ReloadOutcome("failed", plugin.id, code, plugin.version, goes_on=goes_on, error=exc)
            )
            return
        # Its id is free: it may come back from elsewhere.
        self._roster.forget(plugin)
        also = tuple(name for name in gone if name != plugin.id)
        self._taken.update(also)
        self._taken.discard(plugin.id)
        self._tell(ReloadOutcome("unloaded", plugin.id, code, plugin.version, also=also))

    async def _revive(self, plugin: HostedPlugin) -> None:
        """Start what could not run without it."""
        for other in self.plugins():
            waited = (
                other.id in self._taken
                if other.state is State.UNLOADED
                else other.state is State.ERROR
                and other.last_exit is None
                and all(ask.optional for ask in other.policy.missing)
            )
            if waited and other.found.depends_on(plugin.found) and not self._lacks(other):
                load = partial(self._commands.load, other.id)
                await self._attempt(other.found.code, other.id, (), load)

    def _is_to_be_disabled(self, plugin_id: str) -> bool:
        return plugin_id not in self._roster.plugins and not self._roster.may_start(plugin_id)

    def _lacks(self, plugin: HostedPlugin) -> str:
        return self._roster.lacks(plugin.found)

    def _runs(self, plugin_id: str) -> bool:
        plugin = self._roster.plugins.get(plugin_id)
        return plugin is not None and plugin.can_be_swapped

    def _tools_of(self, plugin_id: str) -> dict[str, Tool]:
        tools = self._tools()
        return {
            name.partition(".")[2]: tool for name, tool in tools.items() if tool.plugin == plugin_id
        }

    def _note_refused(self, code: Path, error: PlughostError) -> None:
        """Have the host's `problems` name what is no acceptable plugin."""
        if isinstance(error, ManifestError) and code not in {p.found.code for p in self.plugins()}:
            others = [one for one in self._roster.refused if one.root != code]
            self._roster.refused = [*others, Refused(code.name, code, error)]

    def _tell(self, outcome: ReloadOutcome) -> None:
        if outcome.error is not None and self._roster.is_closing:
            return
        if self._on_outcome is not None:
            try:
                self._on_outcome(outcome)
            except Exception:  # noqa: BLE001 - the application's own
                _log.exception("on_hot_reload raised")


def _read(codes: Iterable[Path]) -> tuple[dict[Path, Found], set[Path]]:
    """The plugins that are there, and what has gone."""
    found: dict[Path, Found] = {}
    gone: set[Path] = set()
    for code in codes:
        if _is_gone(code):
            gone.add(code)
            continue
        for plugin in discover([code]).found:
            if plugin.code == code:
                found[code] = plugin
    return found, gone


def _is_gone(code: Path) -> bool:
    """Whether there is no plugin any more; what a checkout leaves in its folder is none."""
    if not os.path.isdir(code):  # noqa: PTH112 - it never raises
        return not os.path.isfile(code)  # noqa: PTH113
    return not has_manifest(code) and not any(code.glob("*.py"))


def _is_meant_as_plugin(code: Path) -> bool:
    return has_manifest(code) or os.path.isfile(code / "plugin.py")  # noqa: PTH113 - it never raises


def _in_order(found: Mapping[Path, Found], codes: Iterable[Path]) -> list[Path]:
    """Dependencies first; those that cannot be read at the end."""
    by_id = {one.manifest.id: code for code, one in found.items()}
    order = start_order({plugin_id: found[code] for plugin_id, code in by_id.items()}).ids
    return list(dict.fromkeys([*(by_id[plugin_id] for plugin_id in order), *codes]))
