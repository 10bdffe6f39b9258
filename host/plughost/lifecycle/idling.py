"""Plugins that are started at their first use: put to sleep with the host, and when nobody uses
them."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from plughost.errors import PlughostError
from plughost.reactor import Reactor
from plughost.rpc.worker import Worker
from plughost.units import format_seconds

from .offered import NOTHING_KNOWN, Offered, OfferedStore, offered_key
from .plugin import HostedPlugin
from .states import State

__all__ = ["Idling"]

_log: Final = logging.getLogger("plughost")

_LOOK: Final = 0.5  # seconds between two looks at all of them
_DEADLINE: Final = 120.0  # seconds to fall asleep, those included that it waits for others
_PAUSE: Final = 1.0  # seconds until a plugin is tried again for which there was no room
_AT_ONCE: Final = 2  # plugins that are started to learn what they offer
_TURN: Final = 1.0  # seconds until the next ones are, where these hang
_MOST_AT_ONCE: Final = 8  # with those that hang
# Seconds that a host's start waits to learn what its plugins offer. It goes on learning after.
_PATIENCE: Final = 1.0
_ROOM: Final = 5.0  # seconds that a plugin waits for others that are in use or being loaded
_GLANCE: Final = 0.05  # seconds between two looks at them


@dataclass(slots=True)
class _Seen:
    """A worker at the last look."""

    worker: Worker
    used: tuple[int, int]
    """Its calls and its requests so far."""
    since: float
    """Since when they are so many."""


class Idling:
    """Looks at the workers of plugins that are started at their first use."""

    def __init__(
        self, plugins: Mapping[str, HostedPlugin], store: OfferedStore, reactor: Reactor
    ) -> None:
        self._plugins = plugins
        self._store = store
        self._reactor = reactor
        self._seen: dict[str, _Seen] = {}
        self._busy: set[str] = set()
        self._unknown: list[HostedPlugin] = []
        self._learned = anyio.Event()
        self._learning = anyio.Semaphore(_MOST_AT_ONCE)
        # One after the other: who looks for room must not miss one that is falling asleep.
        self._falling = anyio.Lock()
        self._looking = anyio.Lock()  # and one only looks again and again

    # With the host

    async def read(self, plugins: Iterable[HostedPlugin]) -> dict[str, Offered]:
        """What these offer, by id, as far as it is known."""
        return await anyio.to_thread.run_sync(self._read, list(plugins))

    def _read(self, plugins: list[HostedPlugin]) -> dict[str, Offered]:
        known: dict[str, Offered] = {}
        for plugin in plugins:
            granted = list(map(str, plugin.policy.granted))
            try:
                key = offered_key(plugin.found, plugin.config, granted)
            except OSError:  # it is being changed
                continue
            offered = self._store.read(plugin.id, key)
            if offered is not None:
                known[plugin.id] = offered
        return known

    async def lay_down(self, plugin: HostedPlugin, offered: Offered | None) -> None:
        """Let it sleep from the start. What it offers, if that is not known, `learn` finds out."""
        if offered is None or not await self._lay_down(plugin, offered):
            await plugin.fall_asleep(NOTHING_KNOWN, lambda: True)
            self._unknown.append(plugin)

    async def _lay_down(self, plugin: HostedPlugin, offered: Offered) -> bool:
        try:
            return await plugin.fall_asleep(offered, lambda: True)
        except PlughostError as exc:
            plugin.log.note("info", f"what it offered before does not hold any more: {exc}")
            return False

    async def learn(self) -> None:
        """Start those for a moment of which it is not known what they offer."""
        async with anyio.create_task_group() as tasks:
            for _ in range(_AT_ONCE):
                tasks.start_soon(self._learn, tasks)
        self._learned.set()

    async def _learn(self, tasks: TaskGroup) -> None:
        while self._unknown:
            plugin, is_done = self._unknown.pop(0), anyio.Event()
            await self._learning.acquire()
            tasks.start_soon(self._learn_of, plugin, is_done)
            with anyio.move_on_after(_TURN):
                await is_done.wait()

    async def _learn_of(self, plugin: HostedPlugin, is_done: anyio.Event) -> None:
        is_known = False
        while not is_known:
            try:
                await plugin.turns.take("learn", _DEADLINE, partial(self._look_into, plugin))
            except PlughostError as exc:
                plugin.log.note("error", f"what it offers is not known: {exc}")
            except Exception:  # noqa: BLE001 - our bug: the plugin goes on as it is
                _log.exception("it was not learned what plugin %s offers", plugin.id)
            is_known = plugin.state is not State.SLEEPING or plugin.is_known
            if not is_known:
                await anyio.sleep(_PAUSE)  # there was no room for its worker
        self._learning.release()
        is_done.set()

    async def _look_into(self, plugin: HostedPlugin) -> None:
        if plugin.wake():
            await plugin.settled()
            await self._put_to_sleep(plugin)
            await plugin.alone()

    async def learned(self) -> None:
        """Return when it is known what all offer, or when the host should not wait any more."""
        with anyio.move_on_after(_PATIENCE):
            await self._learned.wait()

    # When nobody uses them

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await anyio.sleep(_LOOK)
            for plugin in self._plugins.values():
                if plugin.activation.is_lazy and self._idle_for(plugin) >= plugin.limits.idle_after:
                    self._busy.add(plugin.id)
                    self._reactor.spawn(self._end_unused, plugin)

    def _idle_for(self, plugin: HostedPlugin) -> float:
        """Seconds for which nobody has used its worker."""
        worker = plugin.active_worker
        if worker is None or plugin.id in self._busy or plugin.offered is None:
            self._seen.pop(plugin.id, None)
            return 0.0
        now = self._reactor.now()
        used = worker.channel.calls, worker.channel.requests.count
        seen = self._seen.get(plugin.id)
        if seen is None or seen.worker is not worker or seen.used != used or not plugin.is_idle:
            self._seen[plugin.id] = _Seen(worker, used, now)
            return 0.0
        return now - seen.since

    async def _end_unused(self, plugin: HostedPlugin) -> None:
        try:
            idle = format_seconds(plugin.limits.idle_after)
            if await plugin.turns.take("sleep", _DEADLINE, lambda: self._put_to_sleep(plugin)):
                plugin.log.note("info", f"nobody has used it for {idle}: its worker ends")
        except PlughostError as exc:
            plugin.log.note("error", f"its worker does not end, though nobody uses it: {exc}")
        except Exception:  # noqa: BLE001 - our bug: the plugin goes on as it is
            _log.exception("plugin %s did not fall asleep", plugin.id)
        finally:
            self._busy.discard(plugin.id)
            self._seen.pop(plugin.id, None)

    async def _put_to_sleep(self, plugin: HostedPlugin) -> bool:
        worker, offered = plugin.active_worker, plugin.offered
        if plugin.state is not State.ACTIVE or worker is None or offered is None:
            return False
        used = worker.channel.calls
        async with self._falling:
            return await plugin.fall_asleep(
                offered, lambda: plugin.is_idle and worker.channel.calls == used
            )

    async def make_room(self, plugin_id: str, most: int) -> bool:
        """End the workers that were idle for the longest, until a plugin's is one of so many.

        Where all are in use or being loaded, it waits a moment for one of them. False where it
        has found no room.
        """
        # Not its own: a worker that is being replaced has its place already.
        if self._workers_beside(plugin_id) < most:
            return True
        end = self._reactor.now() + _ROOM
        async with self._looking:
            while self._workers_beside(plugin_id) >= most:
                others = [
                    other
                    for other in self._plugins.values()
                    if other.id != plugin_id and other.activation.is_lazy and other.workers
                ]
                if leaving := [other for other in others if other.is_leaving]:
                    await leaving[0].alone()
                elif not await self._end_idle(others, plugin_id):
                    if not others or self._reactor.now() >= end:
                        return False
                    await anyio.sleep(_GLANCE)
        return True

    async def _end_idle(self, others: list[HostedPlugin], plugin_id: str) -> bool:
        """Let one of them sleep, if one is idle: whether one does."""
        idle = [other for other in others if other.is_idle]
        for plugin in sorted(idle, key=self._idle_for, reverse=True):
            try:
                sleeps = await self._put_to_sleep(plugin)
            except PlughostError as exc:
                plugin.log.note("error", f"its worker does not end for {plugin_id}: {exc}")
                continue
            if sleeps:
                plugin.rest()
                plugin.log.note("info", f"its worker makes room for the one of {plugin_id}")
                return True
        return False

    def _workers_beside(self, plugin_id: str) -> int:
        return sum(len(p.workers) for p in self._plugins.values() if p.id != plugin_id)
