"""Hot reload, for who writes plugins: what has changed on the disk is loaded anew.

The kernel's news say when to look, and two looks at the files say what has changed. So nothing is
missed while a folder is made anew, and what changes during a reload is seen after it.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from plughost.catalog.search_path import absolute, search_folders
from plughost.hot_reload_config import ENVIRONMENT, HotReload, is_production
from plughost.reactor import Reactor

from .folder_watch import need_watchfiles, watch_folders
from .roster import Roster
from .source_changes import SourceChanges
from .source_look import NOTHING, Look, Rules, Survey, survey

__all__ = ["HotReloader", "hot_reloader"]

_log: Final = logging.getLogger("plughost.hot_reload")

_LOOK: Final = 1.0  # seconds between two looks at which plugins there are, or at their files
_PATIENCE: Final = 20  # times the debounce that files may change without a rest
_PAUSE: Final = 0.1  # seconds, where a folder has gone while it was to be watched
_UNWATCHED_LOOKS: Final = 60  # before the machine is asked again whether it tells of changes


def hot_reloader(
    config: HotReload, roster: Roster, changes: SourceChanges, reactor: Reactor
) -> "HotReloader | None":
    """What watches the plugins of a host; None where nothing is to be watched."""
    if not config.enabled:
        return None
    if is_production():
        _log.warning("hot reload is off: %s is production", ENVIRONMENT)
        return None
    return HotReloader(config, roster, changes, reactor)


class HotReloader:
    """Watches the plugins of one host, and where one may come."""

    def __init__(
        self, config: HotReload, roster: Roster, changes: SourceChanges, reactor: Reactor
    ) -> None:
        self._roster = roster
        self._changes = changes
        self._reactor = reactor
        self._rules = Rules(config)
        self._debounce = config.debounce
        self._survey = Survey()
        self._seen: dict[Path, Look] = {}
        """What each plugin was loaded from, or refused for."""
        self._due: dict[Path, float] = {}
        """When the quiet time of what changed is over."""
        self._first: dict[Path, float] = {}
        self._busy: set[Path] = set()
        self._told: set[Path] = set()
        self._look_again = False
        self._news = anyio.Event()
        self._watching = anyio.CancelScope()

    async def prepare(self) -> None:
        """Take in what is there, before it is read. Raises `HostMisuse` without watchfiles."""
        need_watchfiles()
        self._survey = await self._look()
        self._seen = dict(self._survey.looks)

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch)
                await self._settle(tasks)
        except Exception:  # noqa: BLE001 - our bug: the host goes on without it
            _log.exception("hot reload has ended: start the host again to have it")

    # What is watched

    def _codes(self) -> set[Path]:
        return {plugin.found.code for plugin in self._changes.plugins()}

    async def _look(self) -> Survey:
        return await anyio.to_thread.run_sync(survey, self._places(), self._codes(), self._rules)

    def _places(self) -> list[Path]:
        folders = self._roster.folders
        return [absolute(path) for path in (search_folders() if folders is None else folders)]

    async def _watch(self) -> None:
        while True:
            try:
                with anyio.CancelScope() as self._watching:
                    await watch_folders(
                        self._survey.folders, self._counts, self._on_change, self._on_ready
                    )
            except FileNotFoundError:
                await anyio.sleep(_PAUSE)
                self._survey = await self._look()
            except OSError as exc:
                _log.warning(
                    "the machine does not tell of changes, so files are looked at each second: %s. "
                    "Raise fs.inotify.max_user_watches or fs.inotify.max_user_instances",
                    exc,
                )
                for _ in range(_UNWATCHED_LOOKS):
                    await anyio.sleep(_LOOK)
                    self._on_ready()

    def _counts(self, path: str, is_gone: bool) -> bool:
        """Whether a change matters. Called in the thread that watches."""
        changed = Path(path)
        code = self._code_of(changed)
        if code is None:
            # A place, a folder around it, or what has come into it.
            return any(
                place.is_relative_to(changed)
                or (
                    changed.parent == place
                    and not self._rules.ignores(changed.name)
                    and (is_gone or changed.suffix == ".py" or os.path.isdir(changed))  # noqa: PTH112
                )
                for place in self._places()
            )
        inside = changed.relative_to(code).as_posix()
        if inside == ".":
            return True
        if self._rules.ignores(inside):
            return False
        return self._rules.wants(inside) or is_gone or os.path.isdir(changed)  # noqa: PTH112

    def _code_of(self, path: Path) -> Path | None:
        """The plugin's folder or file that a path lies in."""
        looks = self._survey.looks
        return next((one for one in (path, *path.parents) if one in looks), None)

    # What comes of it

    def _on_change(self, paths: set[str]) -> None:
        for path in map(Path, paths):
            self._touch(self._code_of(path) or path)
        self._news.set()

    def _on_ready(self) -> None:
        self._look_again = True
        self._news.set()

    def _touch(self, code: Path) -> None:
        """Wait until it is left alone, but not for ever."""
        now = self._reactor.now()
        first = self._first.setdefault(code, now)
        self._due[code] = min(now + self._debounce, first + self._debounce * _PATIENCE)

    async def _settle(self, tasks: TaskGroup) -> None:
        codes = self._codes()
        while True:
            ready = await self._next_ready()
            if not (ready or self._look_again or codes != self._codes()):
                continue
            self._look_again = False
            codes = self._codes()
            new = await self._look()
            batch = self._pick(new, ready)
            if batch:
                self._busy.update(batch)
                tasks.start_soon(self._act, batch)
            if new.folders != self._survey.folders:
                self._watching.cancel()
            self._survey = new

    async def _next_ready(self) -> set[Path]:
        """Wait for news; what has been left alone for long enough."""
        now = self._reactor.now()
        left = min(self._due.values(), default=now + _LOOK) - now
        with anyio.move_on_after(max(0.0, min(left, _LOOK))):
            await self._news.wait()
            self._news = anyio.Event()
        now = self._reactor.now()
        ready = {code for code, due in self._due.items() if due <= now}
        for code in ready:
            del self._due[code], self._first[code]
        return ready

    def _pick(self, new: Survey, ready: set[Path]) -> dict[Path, tuple[str, ...]]:
        """What is to be acted on now, with the files that have changed."""
        batch: dict[Path, tuple[str, ...]] = {}
        loaded = self._codes()
        for code in {*new.looks, *self._seen}:
            look = new.look(code)
            if code in loaded and code not in self._seen:  # somebody else has just loaded it
                self._seen[code] = look
                continue
            before = self._seen.get(code, NOTHING)
            if look == before or (code in self._due and code not in ready):
                continue
            if code in self._busy or not _concerns(code, ready):
                self._touch(code)
                continue
            self._warn_of_size(code, look)
            batch[code] = look.changes_since(before)
            if look == NOTHING:
                del self._seen[code]
            else:
                self._seen[code] = look
        return batch

    def _warn_of_size(self, code: Path, look: Look) -> None:
        if not look.is_whole and code not in self._told:
            self._told.add(code)
            _log.warning(
                "%s has too many files: not all are watched. Name folders that are no source in "
                "hot_reload.ignore",
                code,
            )

    async def _act(self, batch: Mapping[Path, tuple[str, ...]]) -> None:
        try:
            await self._changes.act_on(batch)
        except Exception:  # noqa: BLE001 - our bug: the plugins go on as they are
            _log.exception("changes of %s were not taken", ", ".join(map(str, batch)))
        finally:
            self._busy.difference_update(batch)


def _concerns(code: Path, changed: Iterable[Path]) -> bool:
    """Whether one of the changes is in it, or in what it lies in."""
    return any(code.is_relative_to(path) or path.is_relative_to(code) for path in changed)
