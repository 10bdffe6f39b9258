"""Attempts to run programs, to make processes and to outlive the worker."""

import secrets
import stat
from dataclasses import replace
from pathlib import Path
from typing import Final

import psutil

from .attack import Aim, Control, Ends, Group, Need, Section
from .processes import (
    kill_neighbour,
    kill_victim,
    read_neighbour_memory,
    signal_by_descriptor_owner,
    slow_down_victim,
    trace_victim,
)
from .proofs import claims, exited_with, shows
from .range import Range

__all__ = ["PROGRAMS"]

PROGRAMS: Final = Section(Group.PROCESSES)

_EXEC: Final = "seccomp landlock"


@PROGRAMS.attack("runs a shell", f"mounts {_EXEC}", spoils=True)
def run_a_shell(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROGRAMS.attack("runs a fresh interpreter", _EXEC, spoils=True)
def run_python(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROGRAMS.attack("runs a program that it has only in memory", "seccomp", spoils=True)
def run_from_memory(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROGRAMS.attack(
    "runs a program that it has written to its data folder", f"mounts {_EXEC}", spoils=True
)
def run_a_written_file(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROGRAMS.attack(
    "runs a program that it has written to a granted folder", f"mounts {_EXEC}",
    grants=("files", "read-only"), spoils=True,
)  # fmt: skip
def run_a_file_in_granted_folder(_: Range) -> Aim:
    return Aim({}, exited_with(42))


@PROGRAMS.attack("runs a program that it has written to /tmp", f"mounts {_EXEC}", spoils=True)
def run_a_file_in_temporary_folder(at: Range) -> Aim:
    at.later(Path("/tmp/program").unlink)  # noqa: S108
    return Aim({}, exited_with(42))


@PROGRAMS.attack("loads a library that it has written itself", "mounts", spoils=True)
def map_a_written_file_as_code(_: Range) -> Aim:
    return Aim({}, shows("the code gave 42", "what the code gave"))


@PROGRAMS.attack(
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


@PROGRAMS.attack("makes a new process, by five system calls", "seccomp", spoils=True)
def make_a_process(_: Range) -> Aim:
    return Aim({}, claims("exited with 42|sibling"))


# Staying alive


def _named(word: str) -> str:
    """A process of that name, wherever it is."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == word[:15]:
            return f"process {process.pid} lives on"
    return ""


@PROGRAMS.attack("leaves a daemon", "seccomp", spoils=True)
def leave_a_daemon(at: Range) -> Aim:
    word = secrets.token_hex(7)
    at.later(_end, word)
    return Aim({"word": word}, lambda _: _named(word))


@PROGRAMS.attack(
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
    (signal_by_descriptor_owner, ""),
    (trace_victim, ""),
    (read_neighbour_memory, ""),
    (slow_down_victim, ""),
    (run_from_memory, ""),
    (run_a_written_file, "mounts landlock"),
):
    PROGRAMS.attacks.append(
        replace(
            _attack,
            name=f"{_attack.name}-where-processes-are-granted",
            stopped_by=tuple(_by.split()) or _attack.stopped_by,
            grants=("processes", "files", "read-only"),
        )
    )
    del _attack, _by


@PROGRAMS.attack("sees to it that it outlives the host", "seccomp")
def outlive_the_host(_: Range) -> Aim:
    return Aim({}, claims("signal 0 comes"))
