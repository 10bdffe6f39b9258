"""How well each plugin does: what the host sees of it, and what the plugin says itself."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import anyio

from plughost.config import HealthConfig
from plughost.errors import CallTimeout, PlughostError, ToolError
from plughost.reactor import Reactor
from plughost.rpc.worker import Worker
from plughost.supervision.watch import Usage
from plughost.text import clean_line
from plughost.units import format_bytes, format_seconds
from plughost_protocol import PLUGIN_HEALTH, ErrorCode, encode

from .plugin import HostedPlugin
from .states import State

__all__ = ["Health", "HealthMonitor", "HealthStatus"]

_STEPS: Final = 12  # looks at the counters in one window
_UNHEALTHY_RATE: Final = 0.5
_MAX_REASON: Final = 500  # characters, of a plugin's own
_MAX_REASONS: Final = 20
_MAX_DETAILS: Final = 16 * 1024  # bytes, of a plugin's own


class HealthStatus(StrEnum):
    """How well a plugin does."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It serves, and somebody should look at it."""
    UNHEALTHY = "unhealthy"
    """It does not serve, or badly."""
    OFF = "off"
    """It is unloaded or disabled: nobody wants it to serve."""


_RANK: Final = {HealthStatus.HEALTHY: 0, HealthStatus.DEGRADED: 1, HealthStatus.UNHEALTHY: 2}


@dataclass(slots=True)
class Health:
    """One plugin's health, and the reasons where it is not healthy."""

    plugin: str
    status: HealthStatus = HealthStatus.HEALTHY
    reasons: list[str] = field(default_factory=list)
    state: str = ""
    error_rate: float = 0.0
    """Of the calls in the window, those that failed, but for parameters that did not fit."""
    memory: float = 0.0
    """The share of its memory limit that it uses."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the plugin itself has answered beside its status; as trustworthy as the plugin."""

    def find(self, status: HealthStatus, reason: str) -> None:
        """Something is not as it should be."""
        self.reasons.append(reason)
        if _RANK[status] > _RANK[self.status]:
            self.status = status


class HealthMonitor:
    """Keeps the counters of a window for each plugin, and asks when it is asked."""

    def __init__(
        self, plugins: Mapping[str, HostedPlugin], config: HealthConfig, reactor: Reactor
    ) -> None:
        self._plugins = plugins
        self._config = config
        self._reactor = reactor
        self._seen: dict[str, deque[tuple[int, int]]] = {}

    async def run(self) -> None:
        """Look at the counters again and again, until cancelled."""
        while True:
            await anyio.sleep(self._config.window / _STEPS)
            for plugin in self._plugins.values():
                seen = self._seen.setdefault(plugin.id, deque(maxlen=_STEPS))
                seen.append(_counts(plugin))

    async def check_all(
        self, plugins: Sequence[HostedPlugin], usage: Callable[[str], Usage]
    ) -> dict[str, Health]:
        """The health of these now, by id. They are asked at once."""
        found: dict[str, Health] = {}

        async def check(plugin: HostedPlugin) -> None:
            found[plugin.id] = await self.check(plugin, usage(plugin.id))

        async with anyio.create_task_group() as tasks:
            for plugin in plugins:
                tasks.start_soon(check, plugin)
        return {plugin.id: found[plugin.id] for plugin in plugins}

    async def check(self, plugin: HostedPlugin, usage: Usage) -> Health:
        """Its health now. Waits for the plugin's own answer, within `HealthConfig.timeout`."""
        health = Health(plugin.id, state=plugin.state.value)
        if plugin.state in (State.UNLOADED, State.DISABLED):
            health.status = HealthStatus.OFF
            return health
        if plugin.state in (State.ERROR, State.RESTARTING):
            health.find(HealthStatus.UNHEALTHY, f"it is {plugin.state}: {plugin.error}")
        elif plugin.state not in (State.ACTIVE, State.SLEEPING):
            health.find(HealthStatus.DEGRADED, f"it is {plugin.state}")
        self._judge_calls(plugin, health)
        limit = plugin.limits.memory
        health.memory = usage.memory / limit
        if health.memory >= self._config.memory_share:
            used = f"{format_bytes(usage.memory)} of {format_bytes(limit)}"
            health.find(HealthStatus.DEGRADED, f"it uses {used} of memory")
        worker = plugin.active_worker
        if plugin.is_unresponsive:
            health.find(HealthStatus.UNHEALTHY, "its worker does not respond")
        elif worker is not None:
            await self._ask(worker, health)
        return health

    def _judge_calls(self, plugin: HostedPlugin, health: Health) -> None:
        seen = self._seen.get(plugin.id)
        # As long as the host is younger than the window, all counts.
        calls_then, errors_then = seen[0] if seen and len(seen) == _STEPS else (0, 0)
        calls, errors = _counts(plugin)
        calls, errors = calls - calls_then, errors - errors_then
        if calls == 0:
            return
        health.error_rate = errors / calls
        if calls < self._config.least_calls or health.error_rate < self._config.error_rate:
            return
        bad = health.error_rate >= _UNHEALTHY_RATE
        health.find(
            HealthStatus.UNHEALTHY if bad else HealthStatus.DEGRADED,
            f"{errors} of its last {calls} calls failed ({health.error_rate:.0%})",
        )

    async def _ask(self, worker: Worker, health: Health) -> None:
        timeout = self._config.timeout
        try:
            answer = await worker.ask(PLUGIN_HEALTH, None, timeout)
        except CallTimeout:
            late = f"its own check did not answer within {format_seconds(timeout)}"
            health.find(HealthStatus.UNHEALTHY, late)
        except ToolError as exc:
            # One that names no type is the worker's own: the plugin has no check.
            if exc.code != ErrorCode.UNKNOWN_METHOD or exc.type:
                failed = clean_line(exc.message[:_MAX_REASON])
                health.find(HealthStatus.UNHEALTHY, f"its own check failed: {failed}")
        except PlughostError as exc:
            health.find(HealthStatus.UNHEALTHY, f"it could not be asked: {exc}")
        else:
            _take(answer, health)


def _counts(plugin: HostedPlugin) -> tuple[int, int]:
    stats = plugin.stats
    return stats.calls, stats.errors - stats.invalid


def _take(answer: object, health: Health) -> None:
    """What a plugin says of itself: a text such as `degraded: the queue is long`, or a mapping
    with `status`, `reason` or `reasons`, and details."""
    details: dict[str, Any] = {}
    reasons: list[object] = []
    if isinstance(answer, str):
        word, _, reason = answer.partition(":")
        reasons = [reason]
    elif isinstance(answer, dict):
        details = dict(answer)
        word = str(details.pop("status", ""))
        given = details.pop("reasons", [])
        reasons = [details.pop("reason", ""), *(given if isinstance(given, list) else [given])]
    else:
        word = ""
    if len(encode(details)) <= _MAX_DETAILS:
        health.details = details
    status = _WORDS.get(word.strip().lower())
    if status is None:
        told = clean_line(word[:_MAX_REASON])
        health.find(HealthStatus.DEGRADED, f"its own check answers {told!r}, which is no status")
        return
    if status is HealthStatus.HEALTHY:
        return
    texts = [clean_line(str(text)[:_MAX_REASON].strip()) for text in reasons[:_MAX_REASONS]]
    for reason in list(filter(None, texts)) or [f"it says that it is {status}"]:
        health.find(status, reason)


_WORDS: Final = {
    "": HealthStatus.HEALTHY,
    "ok": HealthStatus.HEALTHY,
    "healthy": HealthStatus.HEALTHY,
    "degraded": HealthStatus.DEGRADED,
    "unhealthy": HealthStatus.UNHEALTHY,
}
