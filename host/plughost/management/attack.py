"""`plughost attack`: the attack suite on the operator's own machine and configuration."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import anyio
from msgspec import Struct

from plughost.attacks import ATTACKS, Attack, Group, Outcome, Result, attacks_of, run_attacks
from plughost.config import HostConfig, Layer, Sandbox
from plughost.errors import HostMisuse

from .background import on_interrupt
from .exit_codes import ExitCode
from .output import Cell, Column, Output
from .problems import CommandFailed, Problem
from .socket_path import control_path

__all__ = ["AttackOptions", "attack"]

_COLUMNS: Final = (
    Column("attack"),
    Column("group"),
    Column("outcome"),
    Column("by", fold=True),
)
_STYLES: Final = {
    Outcome.STOPPED: "green",
    Outcome.SUCCEEDED: "bold red",
    Outcome.NOT_APPLICABLE: "dim",
    Outcome.BROKEN: "bold yellow",
}


@dataclass(frozen=True, slots=True)
class AttackOptions:
    """What `plughost attack` is told."""

    group: str
    only: Sequence[str]
    without: Sequence[str]
    control: bool
    socket: Path | None


class _Row(Struct):
    """One attack, as `--json` shows it."""

    attack: str
    group: str
    tries: str
    outcome: str
    detail: str
    stopped_by: tuple[str, ...]
    """What each stops it alone, in the default configuration."""


async def attack(output: Output, options: AttackOptions) -> ExitCode:
    """Try the attacks, and show what came of each. 0 if none got through, 1 otherwise.

    With `--control` it is the other way round: nothing holds the attacker, and 0 says that all
    attacks work.
    """
    chosen = _chosen(options)
    config = HostConfig(sandbox=_sandbox(options.without))
    logging.getLogger("plughost").addHandler(logging.NullHandler())
    results: list[Result] = []
    interrupted = anyio.CancelScope()
    async with on_interrupt(lambda _: interrupted.cancel()):
        with interrupted:
            await run_attacks(
                chosen,
                config,
                control=options.control,
                management_socket=control_path(options.socket),
                on_result=results.append,
            )
    _show(output, results, control=options.control)
    if interrupted.cancelled_caught:
        return ExitCode.INTERRUPTED
    good = Outcome.SUCCEEDED if options.control else Outcome.STOPPED
    fine = all(result.outcome in (good, Outcome.NOT_APPLICABLE) for result in results)
    return ExitCode.OK if fine else ExitCode.GENERAL


def _chosen(options: AttackOptions) -> list[Attack]:
    group = Group(options.group) if options.group else None
    if not options.only:
        return attacks_of(group)
    names = [attack.name for attack in ATTACKS]
    for name in options.only:
        if name not in names:
            near = get_close_matches(name, names, 3)
            raise CommandFailed(
                Problem(
                    f"there is no attack {name!r}",
                    f"near to it: {', '.join(near)}" if near else "",
                    "plughost attack, which names them all",
                )
            )
    return [attack for attack in attacks_of(group) if attack.name in options.only]


def _sandbox(without: Sequence[str]) -> Sandbox:
    try:
        return Sandbox(without=frozenset(map(Layer, without)))
    except (ValueError, HostMisuse) as exc:
        raise CommandFailed(
            Problem(str(exc), f"the layers are {', '.join(Layer)}", "--without landlock")
        ) from exc


def _show(output: Output, results: Sequence[Result], *, control: bool) -> None:
    if output.as_json:
        output.json([_row(result) for result in results])
        return
    styles = _STYLES
    if control:
        styles = styles | {Outcome.SUCCEEDED: "green", Outcome.STOPPED: "bold red"}
    output.table(
        _COLUMNS,
        [
            [
                Cell(result.attack.name, "bold"),
                result.attack.group.value,
                Cell(result.outcome.value, styles[result.outcome]),
                result.detail,
            ]
            for result in results
        ],
    )
    counts = Counter(result.outcome for result in results)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
    output.line("")
    output.line(Cell("control run: " if control else "", "bold"), told or "no attack was tried")


def _row(result: Result) -> _Row:
    tried = result.attack
    return _Row(
        tried.name,
        tried.group.value,
        tried.tries,
        result.outcome.value,
        result.detail,
        tried.stopped_by,
    )
