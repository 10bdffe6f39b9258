"""Attacks on other processes."""

import ctypes
import os
import resource
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

from .attack import Aim, Attempt, Control, Group, Need, NotPossible, Proof, Section
from .proofs import (
    claims,
    either,
    shows,
    status_of,
    victim_died,
    victim_memory_changed,
)
from .range import Range, Victim

__all__ = ["PROCESSES"]

PROCESSES: Final = Section(Group.PROCESSES)

_SIGNALS: Final = "namespaces landlock seccomp"
_TRACES: Final = "uid namespaces landlock seccomp"
_MEMORIES: Final = "uid mounts landlock"  # /proc leads there, too
_OTHERS: Final = "namespaces seccomp"
_MEMORY: Final = 32  # bytes of each secret in memory


# Signals


@PROCESSES.attack("ends another process of the same user, by seven system calls", _SIGNALS)
def kill_victim(at: Range) -> Aim:
    victim = at.victim()
    return Aim({"pid": victim.pid}, victim_died(victim))


@PROCESSES.attack("ends the worker of another plugin", _SIGNALS)
def kill_neighbour(at: Range) -> Aim:
    pid = at.neighbour.pid
    watched = psutil.Process(pid)

    def proof(_: Attempt) -> str:
        with suppress(psutil.Error, psutil.TimeoutExpired):
            watched.wait(0.05)
        return "" if watched.is_running() else "the neighbour's worker is dead"

    return Aim({"pid": pid}, proof)


@PROCESSES.attack("makes another process the owner of a descriptor that sends SIGKILL", _SIGNALS)
def signal_by_descriptor_owner(at: Range) -> Aim:
    victim = at.victim()
    return Aim({"pid": victim.pid}, victim_died(victim))


# Memory and descriptors


def _memory_of(victim: Victim) -> dict[str, Any]:
    return {"pid": victim.pid, "address": victim.address, "size": _MEMORY}


@PROCESSES.attack("reads another process's memory by ptrace", _TRACES)
def trace_victim(at: Range) -> Aim:
    victim = at.victim()
    return Aim(_memory_of(victim), shows(victim.secret))


@PROCESSES.attack("changes another process's memory by ptrace", _TRACES)
def trace_and_change_victim(at: Range) -> Aim:
    victim = at.victim()
    return Aim(_memory_of(victim), victim_memory_changed(victim))


@PROCESSES.attack("reads another process's memory by process_vm_readv and /proc", _MEMORIES)
def read_victim_memory(at: Range) -> Aim:
    victim = at.victim()
    return Aim(_memory_of(victim), shows(victim.secret))


@PROCESSES.attack("changes another process's memory by process_vm_writev and /proc", _MEMORIES)
def write_victim_memory(at: Range) -> Aim:
    victim = at.victim()
    return Aim(_memory_of(victim), victim_memory_changed(victim))


@PROCESSES.attack("reads the memory of another plugin", _MEMORIES)
def read_neighbour_memory(at: Range) -> Aim:
    neighbour = at.neighbour
    target = {"pid": neighbour.pid, "address": neighbour.address, "size": _MEMORY}
    return Aim(target, shows(neighbour.secret))


@PROCESSES.attack("reads the memory of the host", _MEMORIES, control=Control.BARE)
def read_host_memory(at: Range) -> Aim:
    target = {"pid": os.getpid(), "address": ctypes.addressof(at.memory), "size": _MEMORY}
    return Aim(target, shows(at.memory_secret))


@PROCESSES.attack("takes a descriptor out of another process", _MEMORIES)
def steal_descriptor(at: Range) -> Aim:
    victim = at.victim()
    return Aim({"pid": victim.pid, "fd": victim.fd}, shows(victim.secret))


@PROCESSES.attack(
    "throws another process's pages out of memory", f"capabilities {_OTHERS}",
    control=Control.BARE, needs=(Need.ROOT,),
)  # fmt: skip
def page_out_victim(at: Range) -> Aim:
    return Aim(_memory_of(at.victim()), claims("advised"))


@PROCESSES.attack("compares kernel addresses with another process, by kcmp", _TRACES)
def compare_with_victim(at: Range) -> Aim:
    return Aim(_memory_of(at.victim()), claims("order"))


@PROCESSES.attack("finds out which pages of another process are in memory", _TRACES)
def find_victim_pages(at: Range) -> Aim:
    return Aim(_memory_of(at.victim()), claims("node [0-9]"))


# What /proc tells


@PROCESSES.attack("reads another process's environment", "uid mounts landlock")
def read_victim_environment(at: Range) -> Aim:
    victim = at.victim()
    return Aim({"pid": victim.pid}, shows(victim.secret))


def _proc_of(pid: int) -> Aim:
    own = [Path(f"/proc/{pid}/{name}").read_bytes().hex() for name in ("cmdline", "environ")]
    proofs = [shows(text[:200], "what /proc tells of it") for text in own if text]
    if not proofs:
        raise NotPossible("it has neither arguments nor an environment")
    return Aim({"pid": pid}, either(*proofs))


@PROCESSES.attack("reads the host's arguments, environment and memory map", "mounts landlock")
def read_host_process(_: Range) -> Aim:
    return _proc_of(os.getpid())


@PROCESSES.attack("reads another plugin's arguments and environment", "mounts landlock")
def read_neighbour_process(at: Range) -> Aim:
    return _proc_of(at.neighbour.pid)


@PROCESSES.attack("lists all processes and their arguments", "mounts landlock")
def list_processes(at: Range) -> Aim:
    return Aim({}, shows(at.victim().secret, "a secret argument"))


# Limits and priorities


def _different(look: Callable[[], object], what: str) -> Proof:
    before = look()

    def proof(_: Attempt) -> str:
        now = look()
        return "" if now == before else f"{what} was {before} and is {now}"

    return proof


def _limit(pid: int) -> Aim:
    limit = 4096 * (1 + secrets.randbelow(1000))
    # At first without a bound, which nobody but root could raise again.
    target = {"pid": pid, "limit": limit}

    def core() -> tuple[int, int]:
        return resource.prlimit(pid, resource.RLIMIT_CORE)

    if core() == (0, 0):
        raise NotPossible("its limit is 0 already, and cannot be lowered")
    return Aim(target, _different(core, "its limit"))


@PROCESSES.attack("lowers a limit of another process", f"uid {_OTHERS}")
def set_victim_limit(at: Range) -> Aim:
    return _limit(at.victim().pid)


@PROCESSES.attack("reads the host's limits", f"uid {_OTHERS}")
def read_host_limits(_: Range) -> Aim:
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    unsigned = [str(limit % (1 << 64)) for limit in (soft, hard)]
    return Aim({"pid": os.getpid()}, shows(" to ".join(unsigned), "them"))


def _nice(pid: int) -> Aim:
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, pid)

    return Aim({"pid": pid, "nice": nice() + 1}, _different(nice, "its nice value"))


@PROCESSES.attack("slows another process down", f"uid {_OTHERS}")
def slow_down_victim(at: Range) -> Aim:
    return _nice(at.victim().pid)


@PROCESSES.attack("slows the worker of another plugin down", f"uid {_OTHERS}")
def slow_down_neighbour(at: Range) -> Aim:
    return _nice(at.neighbour.pid)


def _pin(pid: int) -> Aim:
    cores = os.sched_getaffinity(pid)
    if len(cores) == 1:
        raise NotPossible("there is only one core")
    core = max(cores)
    return Aim(
        {"pid": pid, "core": core}, _different(lambda: os.sched_getaffinity(pid), "its cores")
    )


@PROCESSES.attack("pins another process to one core", f"uid {_OTHERS}")
def pin_victim(at: Range) -> Aim:
    return _pin(at.victim().pid)


@PROCESSES.attack("pins the worker of another plugin to one core", f"uid {_OTHERS}")
def pin_neighbour(at: Range) -> Aim:
    return _pin(at.neighbour.pid)


@PROCESSES.attack("has another process run only when nothing else does", f"uid {_OTHERS}")
def reschedule_victim(at: Range) -> Aim:
    pid = at.victim().pid
    return Aim({"pid": pid}, _different(lambda: os.sched_getscheduler(pid), "its scheduler"))


@PROCESSES.attack("has another process wait for the disk longest", f"uid {_OTHERS}")
def starve_victim_of_disk(at: Range) -> Aim:
    victim = psutil.Process(at.victim().pid)
    return Aim({"pid": victim.pid}, _different(lambda: victim.ionice(), "its disk priority"))


@PROCESSES.attack("has the kernel kill another process first", "uid mounts landlock")
def make_victim_the_first_to_be_killed(at: Range) -> Aim:
    pid = at.victim().pid
    score = status_of("oom_score_adj")
    return Aim({"pid": pid}, _different(lambda: score(pid).strip(), "its score"))
