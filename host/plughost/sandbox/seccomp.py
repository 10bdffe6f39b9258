"""Compiles the policy of system calls into programs that the kernel runs at every call.

The verdicts of a program: kill the process where the number is not of this machine's table
(a foreign architecture, x32), ENOSYS where it is newer than the table, and what the policy says
for all others: a refusal is EPERM, not death, because libraries probe.
"""

import errno
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from .bpf import Assembler, Jump, Label
from .syscall_policy import (
    NEVER_BY_ANYONE,
    NO_SUCH_DEVICE_CALL,
    NOT_THERE,
    Alternatives,
    SyscallRules,
    Test,
    checked_calls,
    plain_calls,
)
from .syscalls import Machine, UnsupportedMachine, machine_named

__all__ = [
    "Filter",
    "SyscallRules",
    "UnsupportedMachine",
    "allowed_syscalls",
    "syscall_names",
    "template_filter",
    "worker_filter",
]

# linux/seccomp.h
_KILL_PROCESS: Final = 0x8000_0000
_ERRNO: Final = 0x0005_0000
_ALLOW: Final = 0x7FFF_0000

# struct seccomp_data. Both machines are little-endian: the lower half comes first.
_NUMBER_OFFSET: Final = 0
_ARCH_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16

_X32_BIT: Final = 0x4000_0000
_NO_PID: Final = 0x7FFF_FFFF  # more than any process id: an unfilled slot allows nothing

_THIS_MACHINE: Final = platform.machine()


@dataclass(frozen=True, slots=True)
class Filter:
    """A seccomp program, up to the process id of who installs it."""

    program: bytes
    """`struct sock_filter[]`, 8 bytes each, native byte order."""
    pid_slots: tuple[int, ...]
    """Byte offsets of 32-bit operands that the child overwrites with its own process id."""


@cache
def worker_filter(rules: SyscallRules, machine: str = _THIS_MACHINE) -> Filter:
    """What a worker may do: an allow-list. Raises `UnsupportedMachine`."""
    table = machine_named(machine)
    build = Assembler()
    allow = build.give(_ALLOW)
    refused = build.give(_ERRNO | errno.EPERM)
    not_there = build.give(_ERRNO | errno.ENOSYS)
    no_device = build.give(_ERRNO | errno.ENOTTY)
    verdicts = dict.fromkeys(plain_calls(rules), allow)
    verdicts |= dict.fromkeys(NOT_THERE, not_there)
    for name, alternatives in checked_calls(rules).items():
        # A call that the machine does not have is not compiled: no argument of it is ever seen.
        if name in table.numbers:
            no = no_device if name in NO_SUCH_DEVICE_CALL else refused
            verdicts[name] = _alternatives(build, alternatives, yes=allow, no=no)
    return _finish(build, table, verdicts, default=refused)


@cache
def template_filter(machine: str = _THIS_MACHINE) -> Filter:
    """What the trusted template process gives up, for its workers too: a deny-list."""
    build = Assembler()
    refused = build.give(_ERRNO | errno.EPERM)
    verdicts = dict.fromkeys(NEVER_BY_ANYONE, refused)
    return _finish(build, machine_named(machine), verdicts, default=build.give(_ALLOW))


def allowed_syscalls(rules: SyscallRules) -> tuple[str, ...]:
    """The names that a worker may call, some with certain arguments only, sorted."""
    return tuple(sorted(plain_calls(rules) | checked_calls(rules).keys()))


def syscall_names() -> frozenset[str]:
    """Every name that any rules allow, and those that are named to be refused."""
    widest = SyscallRules(mount_view=True, network=True, process=True)
    return frozenset(allowed_syscalls(widest)) | NOT_THERE | NEVER_BY_ANYONE


def _finish(
    build: Assembler, machine: Machine, verdicts: Mapping[str, Label], *, default: Label
) -> Filter:
    """The program: the architecture, then the number by halving, then the arguments."""
    kill = build.give(_KILL_PROCESS)
    by_number = {
        machine.numbers[name]: label for name, label in verdicts.items() if name in machine.numbers
    }
    starts: list[tuple[int, Label]] = []  # from this number on, this verdict
    for number in range(machine.end):
        label = by_number.get(number, default)
        if not starts or starts[-1][1] != label:
            starts.append((number, label))
    starts.append((machine.end, build.give(_ERRNO | errno.ENOSYS)))
    if machine.name == "x86_64":
        starts.append((_X32_BIT, kill))
    entry = build.load(_NUMBER_OFFSET, _search(build, starts))
    entry = build.jump(Jump.EQUAL, machine.audit_arch, yes=entry, no=kill)
    entry = build.load(_ARCH_OFFSET, entry)
    return Filter(build.program(entry), build.marks())


def _search(build: Assembler, starts: Sequence[tuple[int, Label]]) -> Label:
    """The verdict for the number in the accumulator, by halving."""
    if len(starts) == 1:
        return starts[0][1]
    middle = len(starts) // 2
    upper = _search(build, starts[middle:])
    lower = _search(build, starts[:middle])
    return build.jump(Jump.AT_LEAST, starts[middle][0], yes=upper, no=lower)


def _alternatives(build: Assembler, alternatives: Alternatives, *, yes: Label, no: Label) -> Label:
    for tests in reversed(alternatives):
        all_hold = yes
        for test in reversed(tests):
            all_hold = _test(build, test, yes=all_hold, no=no)
        no = all_hold
    return no


def _test(build: Assembler, test: Test, *, yes: Label, no: Label) -> Label:
    if test.values is None:
        found = build.jump(Jump.EQUAL, _NO_PID, yes, no, marked=True)
    elif test.values == (0,):
        found = build.jump(Jump.ANY_BIT, test.mask, yes=no, no=yes)
    else:
        found = no
        for value in reversed(test.values):
            found = build.jump(Jump.EQUAL, value, yes=yes, no=found)
        if test.mask != 0xFFFF_FFFF:
            found = build.mask(test.mask, found)
    offset = _ARGUMENTS_OFFSET + 8 * test.argument + (4 if test.high else 0)
    return build.load(offset, found)
