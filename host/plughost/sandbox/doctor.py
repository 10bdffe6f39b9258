"""What this machine makes of the sandbox: a row for each layer, and what follows from them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from plughost.config import Layer
from plughost_protocol.probing import Finding

from .cgroup import CgroupTree, NoCgroup
from .facts import Facts, gather_facts
from .interpreter import Interpreter
from .landlock import LandlockFeatures
from .machine import Machine
from .probing import TOGETHER, try_layers
from .remedies import remedies_for
from .seccomp import SyscallRules, allowed_syscalls

__all__ = ["Diagnosis", "Row", "RowState", "Verdict", "diagnose"]


class RowState(StrEnum):
    """What there is of a layer."""

    OK = "ok"
    PARTIAL = "partial"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Row:
    """One layer on this machine, in words."""

    layer: str
    state: RowState
    here: str
    """What this machine gives."""
    buys: str
    """What the layer is good for."""
    lacks: str = ""
    """What is missing."""
    errno: int = 0
    remedies: tuple[str, ...] = ()
    """How to get it, the best first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an operator can do here."""

    default_plan: bool
    """Whether plugins start without any waiver."""
    without: tuple[Layer, ...] | None
    """The layers to waive for plugins to start; None where that does not help."""
    untrusted: bool
    """Whether plugins that nobody trusts may be started here, with that waived."""
    network: bool
    """Whether `net:connect` can be granted, with that waived."""
    limits_by_kernel: tuple[str, ...]
    """What a cgroup holds: of `memory`, `cpu` and `processes`. The watch looks after the rest."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of it."""

    facts: Facts
    landlock_abi: int
    rows: tuple[Row, ...]
    verdict: Verdict


def diagnose(python: Interpreter, machine: Machine) -> Diagnosis:
    """Try everything. Raises `PlughostError` if nothing can be tried."""
    facts = gather_facts(python.executable)
    findings = try_layers(frozenset(), python, machine)
    without, late = _waivers(findings, python, machine)
    tree = CgroupTree.find()
    rows = [
        _row(name, finding, _HERE[name](finding, machine), facts)
        for name, finding in findings.items()
        if name in _HERE
    ]
    rows = [_refined(row, machine.landlock, machine) for row in rows]
    rows = [_too_late(row, late[row.layer], facts) if row.layer in late else row for row in rows]
    rows.insert(len(Layer) - 1, _cgroup_row(tree, facts))  # the layers with a name come first
    rows += _row_together(findings, rows, facts)
    verdict = _verdict(without, machine.landlock, tree)
    return Diagnosis(facts, machine.landlock.abi, tuple(rows), verdict)


def _waivers(
    findings: Mapping[str, Finding], python: Interpreter, machine: Machine
) -> tuple[frozenset[Layer] | None, dict[str, Finding]]:
    """The fewest layers without which a worker starts, found by trying, and what was found then.

    A layer may hold with all others, and not without one of them.
    """
    without = frozenset[Layer]()
    late: dict[str, Finding] = {}
    while not all(finding.ok for name, finding in findings.items() if name not in _SPARE):
        refused = {f.layer or f.probe for f in findings.values() if not f.ok} & {*Layer}
        more = {Layer(name) for name in refused} - without
        if not more:
            return None, late
        without |= more
        findings = try_layers(without, python, machine)
        late |= {f.layer or f.probe: f for f in findings.values() if not f.ok}
    return without, late


def _verdict(
    without: frozenset[Layer] | None, landlock: LandlockFeatures, tree: CgroupTree | NoCgroup
) -> Verdict:
    layers = frozenset[Layer]() if without is None else frozenset(Layer) - without
    if Layer.NAMESPACES not in layers:
        layers -= {Layer.MOUNTS}
    # Without a filter there are ways around Landlock, and into the kernel. Before its version 3
    # it lets files be cut short.
    files = Layer.MOUNTS in layers or (Layer.LANDLOCK in layers and landlock.abi >= 3)
    enforced = frozenset[str]() if isinstance(tree, NoCgroup) else _enforced(tree)
    return Verdict(
        default_plan=without == frozenset(),
        without=None if without is None else tuple(each for each in Layer if each in without),
        untrusted=Layer.SECCOMP in layers and files,
        network={Layer.NAMESPACES, Layer.MOUNTS, Layer.SECCOMP} <= layers,
        limits_by_kernel=tuple(name for name in _LIMITS if name in enforced),
    )


# The rows

_SPARE: Final = {
    "pidfd": "signals go by way of the template process, a little later",
    "death signal": "a worker that is stuck outlives a host that was killed",
}
"""Those without which plugins start all the same, and what is then done or lost."""

_LIMITS: Final = {"memory": "memory", "cpu": "cpu", "processes": "pids"}  # and their controllers


def _enforced(tree: CgroupTree) -> frozenset[str]:
    return frozenset(name for name, controller in _LIMITS.items() if controller in tree.folders)


def _row(name: str, finding: Finding, here: str, facts: Facts) -> Row:
    if finding.ok:
        return Row(name, RowState.OK, here, _BUYS[name])
    if name in _SPARE:
        return Row(name, RowState.PARTIAL, "-", _BUYS[name], _SPARE[name], finding.errno)
    lacks = finding.action
    if finding.layer not in ("", name):
        lacks = f"needs {finding.layer}: {lacks}"
    if finding.errno:
        lacks += f": {os.strerror(finding.errno)}"
    # What another layer's row says once is not said twice.
    remedies = remedies_for(finding, facts) if finding.layer in ("", name) else ()
    return Row(name, RowState.MISSING, "-", _BUYS[name], lacks, finding.errno, remedies)


def _refined(row: Row, landlock: LandlockFeatures, machine: Machine) -> Row:
    """What is there, and less than it might be."""
    if row.layer == Layer.UID and not machine.is_root:
        return Row(
            row.layer,
            RowState.PARTIAL,
            f"yours, {machine.user}",
            row.buys,
            "an ordinary user has no other ids to give; the other layers take away what your own "
            "id could do",
            remedies=("start it as root, and each plugin gets an unprivileged id of its own",),
        )
    unknown = [
        what
        for what, known in {
            "TCP (it came with ABI 4)": landlock.net,
            "abstract sockets (ABI 6)": landlock.scoped & 1,
            "signals (ABI 6)": landlock.scoped & 2,
        }.items()
        if not known
    ]
    if row.layer == Layer.LANDLOCK and row.state is RowState.OK and unknown:
        return Row(
            row.layer,
            RowState.PARTIAL,
            row.here,
            row.buys,
            f"this kernel's Landlock does not know {', '.join(unknown)}; namespaces and seccomp "
            "refuse it",
            remedies=("a newer kernel",),
        )
    return row


def _too_late(row: Row, finding: Finding, facts: Facts) -> Row:
    """What fails once another layer is waived."""
    if row.state is RowState.MISSING:
        return row
    lacks = f"without the missing layers: {finding.action}: {os.strerror(finding.errno)}"
    remedies = remedies_for(finding, facts)
    return Row(row.layer, RowState.PARTIAL, row.here, row.buys, lacks, finding.errno, remedies)


def _cgroup_row(tree: CgroupTree | NoCgroup, facts: Facts) -> Row:
    buys = _BUYS[Layer.CGROUP]
    if isinstance(tree, NoCgroup):
        remedies = [tree.remedy]
        for place, remedy in _CGROUP_REMEDIES.items():
            if place == facts.container or (place == "systemd" and facts.has_systemd):
                remedies = [remedy]
        reason = tree.reason.removeprefix("cgroup: ")
        lacks = f"{reason}; the watch holds plugins to their limits, a moment later"
        return Row(Layer.CGROUP, RowState.PARTIAL, "the watch", buys, lacks, 0, tuple(remedies))
    enforced = _enforced(tree)
    here = f"v{2 if tree.is_unified else 1}: {', '.join(n for n in _LIMITS if n in enforced)}"
    if lacking := [name for name in _LIMITS if name not in enforced]:
        lacks = f"no controller for {', '.join(lacking)}: the watch does it"
        return Row(Layer.CGROUP, RowState.PARTIAL, here, buys, lacks)
    return Row(Layer.CGROUP, RowState.OK, here, buys)


_CGROUP_REMEDIES: Final = {
    "systemd": "systemd-run --user --scope -p Delegate=yes plughost run ...; in a unit: "
    "Delegate=yes",
    "docker": "docker run --security-opt writable-cgroups=true ...",
    "podman": "podman run --cgroups=enabled --security-opt unmask=/sys/fs/cgroup ...",
    "kubernetes": "in containerd's runtime configuration on the node: cgroup_writable = true",
}


def _row_together(findings: Mapping[str, Finding], rows: Sequence[Row], facts: Facts) -> list[Row]:
    """All at once, where that fails although each alone does not."""
    finding = findings[TOGETHER]
    if finding.ok or any(row.state is RowState.MISSING for row in rows):
        return []
    return [_row(TOGETHER, finding, "", facts)]


def _system_calls(finding: Finding, _: Machine) -> str:
    return ", ".join([f"{len(allowed_syscalls(SyscallRules()))} calls allowed", *finding.notes])


def _landlock(finding: Finding, machine: Machine) -> str:
    return f"ABI {machine.landlock.abi}: {', '.join(finding.notes)}"


_HERE: Final = {
    Layer.UID.value: lambda _, machine: f"one for each plugin, such as {machine.id_for('doctor')}",
    Layer.NAMESPACES.value: lambda finding, _: ", ".join(finding.notes),
    Layer.MOUNTS.value: lambda *_: "a root of its own",
    Layer.LANDLOCK.value: _landlock,
    Layer.SECCOMP.value: _system_calls,
    "no_new_privs": lambda *_: "set",
    "capabilities": lambda *_: "none left",
    "rlimits": lambda *_: "set",
    "pidfd": lambda *_: "there",
    "death signal": lambda *_: "kills",
}

_BUYS: Final = {
    Layer.UID: "a plugin owns no file and no process of yours, nor of another plugin",
    Layer.NAMESPACES: "no network, no sight of other processes, no shared memory of others",
    Layer.MOUNTS: "files that a plugin may not see are not there at all",
    Layer.LANDLOCK: "files, TCP and signals are refused a second time, by other code",
    Layer.SECCOMP: "the kernel's rarely used and dangerous calls are out of reach",
    Layer.CGROUP: "memory, CPU and processes are held to their limits by the kernel",
    "no_new_privs": "no program makes a plugin more powerful",
    "capabilities": "a plugin has no part of root's power",
    "rlimits": "open files, file sizes and address space have an end",
    "pidfd": "signals reach the process that is meant, and no other",
    "death signal": "no worker outlives the host",
    TOGETHER: "the layers fit into each other",
}
