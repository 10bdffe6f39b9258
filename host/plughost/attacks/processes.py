"""Attacks on other processes, and attempts to make new ones."""

import ctypes
import os
import resource
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import psutil

from .attack import Aim, Attempt, Control, Ends, Group, Need, NotPossible, Proof, Section
from .proofs import (
    claims,
    either,
    exited_with,
    holds,
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


# The terminal


@PROCESSES.attack("types a command into the operator's terminal (TIOCSTI)", "mounts landlock")
def type_into_the_terminal(at: Range) -> Aim:
    if Path("/proc/sys/dev/tty/legacy_tiocsti").read_text().strip() != "1":
        raise NotPossible("this kernel types for nobody")
    word = secrets.token_hex(8)
    _, slave = at.terminal()

    def proof(_: Attempt) -> str:
        with suppress(BlockingIOError):
            typed = os.read(slave, 4096).decode()
            return f"the terminal was typed {typed.strip()!r}" if word in typed else ""
        return ""

    return Aim({"path": os.ttyname(slave), "word": word}, proof)


@PROCESSES.attack("writes to the operator's terminal", "mounts landlock")
def write_to_the_terminal(at: Range) -> Aim:
    word = secrets.token_hex(8)
    master, slave = at.terminal()

    def proof(_: Attempt) -> str:
        with suppress(BlockingIOError):
            shown = os.read(master, 65536).decode()
            return f"the terminal shows {word!r}" if word in shown else ""
        return ""

    return Aim({"path": os.ttyname(slave), "word": word}, proof)


@PROCESSES.attack("reads what the operator types", "mounts landlock")
def read_from_the_terminal(at: Range) -> Aim:
    word = secrets.token_hex(8)
    master, slave = at.terminal()
    os.write(master, word.encode() + b"\n")
    return Aim({"path": os.ttyname(slave)}, shows(word, "it"))


@PROCESSES.attack("opens a new terminal", "mounts landlock")
def open_a_new_terminal(_: Range) -> Aim:
    return Aim({}, holds("ptmx"))


# Other programs


_EXEC: Final = "seccomp landlock"


@PROCESSES.attack("runs a shell", f"mounts {_EXEC}", spoils=True)
def run_a_shell(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROCESSES.attack("runs a fresh interpreter", _EXEC, spoils=True)
def run_python(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROCESSES.attack("runs a program that it has only in memory", "seccomp", spoils=True)
def run_from_memory(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROCESSES.attack(
    "runs a program that it has written to its data folder", f"mounts {_EXEC}", spoils=True
)
def run_a_written_file(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROCESSES.attack(
    "runs a program that it has written to a granted folder", f"mounts {_EXEC}",
    grants=("files", "read-only"), spoils=True,
)  # fmt: skip
def run_a_file_in_granted_folder(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROCESSES.attack("runs a program that it has written to /tmp", f"mounts {_EXEC}", spoils=True)
def run_a_file_in_temporary_folder(at: Range) -> Aim:
    at.later(Path("/tmp/program").unlink)  # noqa: S108
    return Aim({}, exited_with(42))


@PROCESSES.attack("loads a library that it has written itself", "mounts", spoils=True)
def map_a_written_file_as_code(_: Range) -> Aim:
    return Aim({}, shows("the code gave 42", "what the code gave"))


@PROCESSES.attack(
    "runs a program that makes it root, where processes are granted",
    "uid capabilities mounts landlock",
    control=Control.BARE, needs=(Need.ROOT,), grants=("processes", "files", "read-only"),
    spoils=True,
)  # fmt: skip
def run_a_set_user_id_program(at: Range) -> Aim:
    path = at.granted / "set-user-id"
    path.unlink(missing_ok=True)
    path.write_bytes(at.tiny_program())
    path.chmod(0o4755 | stat.S_IXOTH)
    return Aim({"path": str(path), "as": 65534}, exited_with(42))


@PROCESSES.attack("makes a new process, by five system calls", "seccomp", spoils=True)
def make_a_process(_: Range) -> Aim:
    return Aim({}, claims("exited with 42|sibling"))


# Staying alive


def _named(word: str) -> str:
    """A process of that name, wherever it is."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == word[:15]:
            return f"process {process.pid} lives on"
    return ""


@PROCESSES.attack("leaves a daemon", "seccomp", spoils=True)
def leave_a_daemon(at: Range) -> Aim:
    word = secrets.token_hex(7)
    at.later(_end, word)
    return Aim({"word": word}, lambda _: _named(word))


@PROCESSES.attack(
    "leaves a daemon where processes are granted", "namespaces watch",
    ends=Ends.BOUNDED, control=Control.BARE, grants=("processes", "files", "read-only"),
    after_death=True,
)  # fmt: skip
def leave_a_daemon_where_processes_are_granted(at: Range) -> Aim:
    return leave_a_daemon.aim(at)


def _end(word: str) -> None:
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == word[:15]:
            process.kill()


for _attack, _by in (
    (kill_victim, "uid namespaces landlock"),
    (kill_neighbour, "uid namespaces landlock"),
    (signal_by_descriptor_owner, _SIGNALS),
    (trace_victim, _TRACES),
    (read_neighbour_memory, _MEMORIES),
    (slow_down_victim, f"uid {_OTHERS}"),
    (run_from_memory, "seccomp"),
    (run_a_written_file, "mounts landlock"),
):
    PROCESSES.attacks.append(
        replace(
            _attack,
            name=f"{_attack.name}-where-processes-are-granted",
            stopped_by=tuple(_by.split()),
            grants=("processes", "files", "read-only"),
        )
    )
    del _attack, _by


@PROCESSES.attack("sees to it that it outlives the host", "seccomp")
def outlive_the_host(_: Range) -> Aim:
    return Aim({}, claims("signal 0 comes"))
