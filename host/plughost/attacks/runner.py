"""Runs attacks against a host of its own, and judges by what it finds that they got."""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import anyio

from plughost.config import (
    HostConfig,
    Layer,
    PluginConfig,
    Restart,
    Sandbox,
    Totals,
)
from plughost.errors import CallTimeout, HostMisuse, PlughostError, WorkerDied
from plughost.exchange.calls import CallContext
from plughost.host import Host
from plughost.lifecycle.plugin import HostedPlugin
from plughost.supervision.logbook import LogEntry
from plughost.units import MiB

from .attack import Aim, Answer, Attack, Attempt, Control, NotPossible
from .bare import try_bare
from .needs import missing
from .range import GRANTED_NAME, Neighbour, Range

__all__ = ["Outcome", "Result", "run_attacks"]

_GIB: Final = 1024 * MiB
_TIMEOUT: Final = 20.0  # seconds; the longest attempt takes 3 on an idle machine
_AFTERLIFE: Final = 3.0  # seconds; what a worker leaves behind is looked for once a second
_WATCH: Final = 3.0  # seconds; the disk watch looks at a busy worker's folder every two
_TICK: Final = 0.05  # seconds between two calls of the neighbour
_NEIGHBOUR: Final = "neighbour"
_BARE: Final = "bare"  # in place of a plugin's id, for data of its own

_AGAIN: Final = Restart(limit=100_000, backoff=0.01, backoff_max=0.01, jitter=0.0, attempts={})
"""Each attack has a living worker, however many have died of those before it."""

_OUT_OF_REACH: Final[dict[str, Any]] = {
    "memory": 8 * _GIB,
    "processes": 4096,
    "file_size": 64 * _GIB,
    "temporary_size": 2 * _GIB,
    "data_size": 64 * _GIB,
    "data_files": 1_000_000,
    "open_files": 8192,
    "cpu": 64.0,
    "log_lines_per_second": 10_000_000,
    "frames_per_second": 10_000_000,
}


class Outcome(StrEnum):
    """What came of an attack."""

    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    NOT_APPLICABLE = "not applicable"
    BROKEN = "broken"
    """The attack itself failed in a way that tells nothing."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attack."""

    attack: Attack
    outcome: Outcome
    detail: str
    """What stopped it, the evidence, or why it does not apply."""


async def run_attacks(
    attacks: Iterable[Attack],
    config: HostConfig | None = None,
    *,
    control: bool = False,
    management_socket: Path | None = None,
    on_result: Callable[[Result], object] = lambda _: None,
) -> list[Result]:
    """Try the attacks, one after the other, on a host with this configuration.

    The operator's grants are of no matter: the attacker has what each attack says. With `control`
    nothing holds the attacker back, and each attack should get through. Raises `HostMisuse` where
    the attacker does not even start, and where its neighbour stops answering.
    """
    chosen = list(attacks)
    results = []
    with Range(management_socket) as at:
        hosted = [a for a in chosen if not (control and a.control is Control.BARE)]
        plugins = _attackers(at, hosted)
        settings = _settings(at, config or HostConfig(), plugins, control=control)
        async with _running(at, settings, plugins, patient=control) as gallery:
            for attack in chosen:
                plugin_id = plugins.get(_kind(attack), _BARE)
                result = await gallery.run(attack, plugin_id, control=control)
                results.append(result)
                on_result(result)
    return results


_Kind = tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]


def _kind(attack: Attack) -> _Kind:
    """Attacks with the same grants and limits share a plugin."""
    return attack.grants, tuple(sorted(attack.limits.items()))


def _attackers(at: Range, attacks: Sequence[Attack]) -> dict[_Kind, str]:
    """The ids of the plugins that are needed, which are made."""
    at.plugin(_NEIGHBOUR, _NEIGHBOUR, {})
    plugins: dict[_Kind, str] = {}
    for attack in attacks:
        if _kind(attack) not in plugins:
            plugin_id = plugins[_kind(attack)] = f"attacker-{len(plugins) + 1}"
            grants = {name: at.grants[name] for name in attack.grants}
            at.plugin("plugin", plugin_id, grants)
    return plugins


def _settings(
    at: Range, config: HostConfig, plugins: Mapping[_Kind, str], *, control: bool
) -> HostConfig:
    limits = replace(
        config.limits, call_timeout=_TIMEOUT, call_total=2 * _TIMEOUT, grace=0.5, memory=512 * MiB
    )
    settings = {}
    for (_, own), plugin_id in plugins.items():
        given = _OUT_OF_REACH if control else dict(own)
        settings[plugin_id] = PluginConfig(
            limits=replace(limits, **given), private_hosts=(GRANTED_NAME,)
        )
    grants = {
        plugin_id: tuple(at.grants[name] for name in names)
        for (names, _), plugin_id in plugins.items()
    }
    return replace(
        config,
        limits=limits,
        totals=Totals(),
        restart=_AGAIN,
        plugins=settings,
        grants={plugin_id: ("tools:register", *given) for plugin_id, given in grants.items()}
        | {_NEIGHBOUR: ("tools:register",)},
        sandbox=Sandbox(without=frozenset(Layer)) if control else config.sandbox,
        state_folder=at.state,
        resolver=_resolve,
    )


async def _resolve(_name: str, _port: int) -> Sequence[str]:
    """All names lead to this machine."""
    return ["127.0.0.1"]


@asynccontextmanager
async def _running(
    at: Range, config: HostConfig, plugins: Mapping[_Kind, str], *, patient: bool
) -> AsyncIterator["_Gallery"]:
    gallery = _Gallery(at)
    folders = [at.plugins / name for name in (_NEIGHBOUR, *plugins.values())]
    async with Host(folders, config, on_log=gallery.note) as host:
        if host.problems:
            told = "; ".join(f"{name}: {why}" for name, why in host.problems.items())
            raise HostMisuse(f"the attack suite cannot start its plugins: {told}")
        gallery.host = host
        async with anyio.create_task_group() as tasks:
            if not patient:
                tasks.start_soon(gallery.keep_asking)
            yield gallery
            tasks.cancel_scope.cancel()


class _Gallery:
    """A running host with attackers and a neighbour."""

    def __init__(self, at: Range) -> None:
        self.host: Host
        self._at = at
        self._lines: dict[str, int] = {}

    def note(self, entry: LogEntry) -> None:
        self._lines[entry.plugin] = self._lines.get(entry.plugin, 0) + 1

    async def keep_asking(self) -> None:
        """Call the neighbour, which must answer whatever the attacker does."""
        number = 0
        while True:
            try:
                await self._ask_neighbour("tick", number=number)
            except PlughostError as exc:
                raise HostMisuse(f"the plugin next door has stopped answering: {exc}") from exc
            number += 1
            await anyio.sleep(_TICK)

    async def _ask_neighbour(self, tool: str, **params: Any) -> Any:
        context = CallContext(timeout=_TIMEOUT)
        return await self.host.call(f"{_NEIGHBOUR}.{tool}", params, context=context)

    async def run(self, attack: Attack, plugin_id: str, *, control: bool) -> Result:
        """Try one."""
        if control and (why := missing(attack)):
            return Result(attack, Outcome.NOT_APPLICABLE, why)
        await self._look_next_door()
        at = self._at
        at.data = at.data_folder(plugin_id)
        try:
            aim = attack.aim(at)
        except NotPossible as exc:
            return Result(attack, Outcome.NOT_APPLICABLE, str(exc))
        told: dict[str, Any] = {
            "data": str(at.data),
            "granted": str(at.granted),
            "read_only": str(at.read_only),
        }
        told["wait"] = 0.2 if control else _WATCH
        aim = Aim(told | aim.target, aim.proof)
        try:
            if control and attack.control is Control.BARE:
                attempt, evidence = await try_bare(attack.name, aim)
            else:
                attempt, evidence = await self._try(attack, plugin_id, aim, control=control)
        except (PlughostError, ValueError) as exc:
            return Result(attack, Outcome.BROKEN, str(exc))
        return _judged(attack, attempt, evidence, control=control)

    async def _look_next_door(self) -> None:
        facts = await self._ask_neighbour("secret")
        pid = self.host.plugin(_NEIGHBOUR).pid or 0
        self._at.neighbour = Neighbour(pid, facts["address"], facts["text"])

    async def _try(
        self, attack: Attack, plugin_id: str, aim: Aim, *, control: bool
    ) -> tuple[Attempt, str]:
        plugin = self.host.plugin(plugin_id)
        before = self._lines.get(plugin_id, 0)
        end = None
        try:
            params = {"name": attack.name, "target": aim.target}
            said = await self.host.call(f"{plugin_id}.try_attack", params)
            answer = Answer(**said)
        except WorkerDied as exc:
            end, answer = exc.exit, Answer(False, str(exc.exit))
        except CallTimeout as exc:
            answer = Answer(False, f"killed, for {exc}")
        if attack.after_death:
            await _end(plugin)
        pid = 0 if end is not None else plugin.pid or 0
        attempt = Attempt(answer, pid, end, self._lines.get(plugin_id, 0) - before)
        evidence = aim.proof(attempt)
        if attack.after_death:
            with anyio.move_on_after(_AFTERLIFE):
                while evidence := aim.proof(attempt):  # noqa: ASYNC110 - nobody tells of a death
                    await anyio.sleep(_TICK)
        if end is None and (attack.spoils or (answer.got and not control)):
            await _end(plugin)
        return attempt, evidence


async def _end(plugin: HostedPlugin) -> None:
    """Kill its worker; the next call waits for a new one."""
    worker = plugin.worker
    if worker is not None:
        worker.process.kill()
        await worker.wait()


def _judged(attack: Attack, attempt: Attempt, evidence: str, *, control: bool) -> Result:
    answer = attempt.answer
    if evidence:
        return Result(attack, Outcome.SUCCEEDED, evidence)
    if not answer.here:
        return Result(attack, Outcome.NOT_APPLICABLE, answer.detail)
    how = _how(answer)
    if control and set(how.split(", ")) <= _ABSENT:
        return Result(attack, Outcome.NOT_APPLICABLE, f"this kernel has nothing like it ({how})")
    return Result(attack, Outcome.STOPPED, how)


_ABSENT: Final = {"EAFNOSUPPORT", "EPROTONOSUPPORT", "ESOCKTNOSUPPORT", "ENODEV", "ENOSYS"}
_ERRORS: Final = re.compile(r"\bE[A-Z0-9]{3,}\b|\bMemoryError\b")


def _how(answer: Answer) -> str:
    """The errors, each once; or what else it says."""
    if answer.got:
        return "it got nothing of value"
    errors = list(dict.fromkeys(_ERRORS.findall(answer.detail)))
    return ", ".join(errors) or answer.detail[:200] or "nothing was there"
