"""A machine that refuses some system calls, as a container's profile or an older kernel does."""

import ctypes
import errno
import platform
from collections.abc import Mapping
from typing import Final

from plughost.sandbox.bpf import Assembler, Jump
from plughost.sandbox.syscalls import machine_named

__all__ = ["DOCKER", "refuse"]

_MOUNTING: Final = ["mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr"]
DOCKER: Final = dict.fromkeys(["unshare", "setns", *_MOUNTING], errno.EPERM)
"""What Docker's default profile refuses without CAP_SYS_ADMIN, as far as we use it."""

_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000  # linux/seccomp.h

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2  # linux/prctl.h, linux/seccomp.h
_PR_SET_NO_NEW_PRIVS: Final = 38


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]


def refuse(calls: Mapping[str, int]) -> None:
    """Have this process, and all that it starts, get these error numbers."""
    build = Assembler()
    build.give(_ALLOW)
    step = build.give(_ALLOW)
    numbers = machine_named(platform.machine()).numbers
    for name, number in calls.items():
        step = build.jump(Jump.EQUAL, numbers[name], yes=build.give(_ERRNO | number), no=step)
    program = build.program(build.load(0, step))  # the number of the call
    libc = ctypes.CDLL(None)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    filter_ = _Program(len(program) // 8, program)
    assert libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_)) == 0
