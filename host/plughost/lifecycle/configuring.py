"""New values for plugins at run time: all of them get theirs, or none does."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

import anyio
import msgspec

from plughost.config import revealed, without_secrets
from plughost.errors import InvalidConfig, PlughostError
from plughost.exchange.events.bus import EventBus
from plughost.exchange.events.event import HOST, Origin
from plughost.rpc.worker import Worker
from plughost_protocol import PLUGIN_CONFIGURE, ProtocolError, decode_value, encode

from .commands import DEADLINE
from .plugin import HostedPlugin
from .roster import Roster
from .states import State

__all__ = ["Configured", "Configuring"]

_DRAIN: Final = 10.0  # seconds that open calls have before a worker is replaced
_MAX_SIZE: Final = 1_000_000  # bytes of one plugin's values
_MAX_KEYS: Final = 100  # names of values that one event tells


class Configured(StrEnum):
    """What became of a plugin's new values."""

    TAKEN = "taken"
    """Its `on_configure` has them."""
    RESTARTED = "restarted"
    """A new worker has them."""
    KEPT = "kept"
    """It does not run: its next worker has them."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    config: Mapping[str, Any]
    """The operator's values."""
    values: Mapping[str, Any]
    """The same as the plugin sees them, defaults included."""


class Configuring:
    """Gives plugins new values, one command after the other, and tells of it by an event."""

    def __init__(self, roster: Roster, bus: EventBus) -> None:
        self._roster = roster
        self._bus = bus
        self._one_at_a_time = anyio.Lock()

    async def configure(
        self, values: Mapping[str, Mapping[str, Any]], *, replace: bool
    ) -> dict[str, Configured]:
        """What became of each plugin. Raises `UnknownPlugin`, `InvalidConfig`, `PlughostError`."""
        async with self._one_at_a_time:
            plugins = {plugin_id: self._roster.plugin(plugin_id) for plugin_id in values}
            before = {plugin_id: plugin.config for plugin_id, plugin in plugins.items()}
            done = await _configure(plugins, values, replace=replace)
        for plugin_id, outcome in done.items():
            # Names only: a value may be a secret.
            names = {*values[plugin_id], *(before[plugin_id] if replace else ())}
            keys = sorted(names)[:_MAX_KEYS]
            told = {"plugin": plugin_id, "keys": keys, "outcome": outcome.value}
            self._bus.post("plugin:configured", told, Origin(HOST))
        return done


async def _configure(
    plugins: Mapping[str, HostedPlugin],
    given: Mapping[str, Mapping[str, Any]],
    *,
    replace: bool,
) -> dict[str, Configured]:
    """Check all values, then give them. Raises `InvalidConfig`, `PlughostError`."""
    wanted: dict[str, _Wanted] = {}
    problems: dict[str, str] = {}
    for plugin_id, values in given.items():
        plugin = plugins[plugin_id]
        config = dict(values) if replace else {**plugin.config, **values}
        try:
            wanted[plugin_id] = _checked(plugin, config)
        except ValueError as exc:
            problems[plugin_id] = without_secrets(str(exc), config)
    if problems:
        raise InvalidConfig(problems)
    before = {plugin_id: plugin.config for plugin_id, plugin in plugins.items()}
    outcomes, failure = await _apply_all(plugins, wanted)
    if failure is not None:
        await _take_back(plugins, before)
        raise failure
    return outcomes


def _checked(plugin: HostedPlugin, config: Mapping[str, Any]) -> _Wanted:
    """Raises `ValueError`, in words, for what the plugin cannot have."""
    try:
        data = encode(revealed(config))
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as exc:
        raise ValueError(f"it cannot be sent to a worker: {exc}") from exc
    if len(data) > _MAX_SIZE:
        raise ValueError(f"it has {len(data):,} bytes, and may have {_MAX_SIZE:,}")
    try:
        plain = decode_value(data)
    except ProtocolError as exc:
        raise ValueError(f"it cannot be sent to a worker: {exc}") from exc
    return _Wanted(config, plugin.config_schema.complete(plain))


async def _apply_all(
    plugins: Mapping[str, HostedPlugin], wanted: Mapping[str, _Wanted]
) -> tuple[dict[str, Configured], PlughostError | None]:
    """What became of each, and the first failure."""
    outcomes: dict[str, Configured] = {}
    failures: list[PlughostError] = []

    async def run(plugin_id: str, new: _Wanted) -> None:
        try:
            plugin = plugins[plugin_id]
            apply = partial(_apply, plugin, new)
            outcomes[plugin_id] = await plugin.turns.take("configure", DEADLINE, apply)
        except PlughostError as exc:
            failures.append(exc)

    async with anyio.create_task_group() as tasks:
        for plugin_id, new in wanted.items():
            tasks.start_soon(run, plugin_id, new)
    ordered = {plugin_id: outcomes[plugin_id] for plugin_id in wanted if plugin_id in outcomes}
    return ordered, failures[0] if failures else None


async def _take_back(
    plugins: Mapping[str, HostedPlugin], before: Mapping[str, Mapping[str, Any]]
) -> None:
    """Give all their old values again; one that fails with these, too, had failed before."""
    for plugin_id, config in before.items():
        plugin = plugins[plugin_id]
        if plugin.config is not config:
            with suppress(PlughostError):
                await _apply(plugin, _checked(plugin, config))


async def _apply(plugin: HostedPlugin, new: _Wanted) -> Configured:
    """Give one plugin its values. Raises `StartFailed` if it does not load with them."""
    await plugin.settled()
    worker = plugin.worker
    if (
        plugin.state in (State.ACTIVE, State.DISABLED)
        and worker is not None
        and worker.exit is None
        and await _tell(plugin, worker, new.values)
    ):
        plugin.config = new.config
        plugin.roll_back("the plugin was configured anew, and it was loaded before")
        return Configured.TAKEN
    if plugin.state in (State.ACTIVE, State.RESTARTING):
        await plugin.swap(plugin.found, new.config)
        return Configured.RESTARTED
    plugin.config = new.config
    if plugin.state is State.ERROR:
        await plugin.start()
        return Configured.RESTARTED
    if plugin.state is State.DISABLED and plugin.worker is not None:
        await plugin.stop(_DRAIN)
        await plugin.disable()
        return Configured.RESTARTED
    return Configured.KEPT


async def _tell(plugin: HostedPlugin, worker: Worker, values: Mapping[str, Any]) -> bool:
    """Whether the plugin has taken them."""
    try:
        taken = await worker.ask(PLUGIN_CONFIGURE, values, plugin.limits.call_timeout)
    except PlughostError as exc:
        plugin.log.note("warning", f"{exc}; it gets a new worker for its new configuration")
        return False
    return taken is True
