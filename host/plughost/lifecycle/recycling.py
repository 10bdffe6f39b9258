"""Workers that have served long enough make room for new ones, and no call notices."""

import logging
from collections.abc import Callable, Mapping
from typing import Final

import anyio

from plughost.errors import PlughostError
from plughost.reactor import Reactor
from plughost.supervision.watch import Usage
from plughost.units import format_bytes, format_seconds

from .plugin import HostedPlugin
from .states import State

__all__ = ["Recycler"]

_log: Final = logging.getLogger("plughost")

_LOOK: Final = 0.5  # seconds between two looks at all of them
_PAUSE: Final = 60.0  # seconds after what would fail or be needed again at once
_DEADLINE: Final = 120.0  # seconds that a swap has, those included that it waits for others
_AT_ONCE: Final = 2  # swaps under way, so that plugins which began together are no storm


class Recycler:
    """Looks at the workers of one host, and replaces those that `Limits.recycle_...` are for."""

    def __init__(
        self,
        plugins: Mapping[str, HostedPlugin],
        usage: Callable[[str], Usage],
        reactor: Reactor,
    ) -> None:
        self._plugins = plugins
        self._usage = usage
        self._reactor = reactor
        self._busy: set[str] = set()
        self._paused: dict[str, float] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await anyio.sleep(_LOOK)
            for plugin in self._plugins.values():
                if len(self._busy) < _AT_ONCE and (reason := self._reason(plugin)):
                    self._busy.add(plugin.id)
                    self._reactor.spawn(self._recycle, plugin, reason)

    def _reason(self, plugin: HostedPlugin) -> str:
        """Why its worker is to be replaced now; empty where it is not."""
        worker = plugin.active_worker
        if worker is None or plugin.id in self._busy or plugin.state is not State.ACTIVE:
            return ""
        if plugin.trial is not None:  # a swap would end it
            return ""
        if self._paused.get(plugin.id, 0.0) > self._reactor.now():
            return ""
        limits, calls, uptime = plugin.limits, worker.channel.calls, plugin.uptime
        if limits.recycle_calls is not None and calls >= limits.recycle_calls:
            return f"after {calls} calls"
        if limits.recycle_after is not None and uptime >= limits.recycle_after:
            return f"after {format_seconds(uptime)}"
        most = limits.recycle_memory
        if most is not None and (memory := self._usage(plugin.id).memory) >= most:
            return f"at {format_bytes(memory)}"
        return ""

    async def _recycle(self, plugin: HostedPlugin, reason: str) -> None:
        worker = plugin.active_worker

        async def act() -> None:
            # Somebody else's command may have come before.
            if plugin.active_worker is worker and plugin.state is State.ACTIVE and not plugin.trial:
                plugin.log.note("info", f"its worker is recycled {reason}")
                await plugin.swap(plugin.found)
                if plugin.limits.recycle_memory is not None:
                    # Or one that needs as much from its start on would be replaced without end.
                    self._paused[plugin.id] = self._reactor.now() + _PAUSE

        try:
            await plugin.turns.take("recycle", _DEADLINE, act)
        except PlughostError as exc:
            plugin.log.note("error", f"its worker was not recycled: {exc}")
            self._paused[plugin.id] = self._reactor.now() + _PAUSE
        except Exception:  # noqa: BLE001 - our bug: the plugin goes on as it is
            _log.exception("the worker of plugin %s was not recycled", plugin.id)
            self._paused[plugin.id] = self._reactor.now() + _PAUSE
        finally:
            self._busy.discard(plugin.id)
