"""A machine that refuses some system calls, as a container's profile or an older kernel does."""

import errno
import platform
import sys
from collections.abc import Mapping
from typing import Final

from plughost.sandbox.bpf import Assembler, Jump
from plughost.sandbox.syscalls import machine_named

__all__ = ["DOCKER", "refusing"]

_MOUNTING: Final = ["mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr"]
DOCKER: Final = dict.fromkeys(["unshare", "setns", *_MOUNTING], errno.EPERM)
"""What Docker's default profile refuses without CAP_SYS_ADMIN, as far as we use it."""

_ALLOW, _ERRNO = 0x7FFF_0000, 0x0005_0000  # linux/seccomp.h

_LAUNCH: Final = """
import ctypes, os, sys
program = bytes.fromhex(sys.argv[1])
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program))) == 0  # SECCOMP
os.execv(sys.argv[2], sys.argv[2:])
"""


def refusing(calls: Mapping[str, int]) -> list[str]:
    """What to put before a command, an absolute path, so that it gets these error numbers."""
    build = Assembler()
    build.give(_ALLOW)
    step = build.give(_ALLOW)
    numbers = machine_named(platform.machine()).numbers
    for name, number in calls.items():
        step = build.jump(Jump.EQUAL, numbers[name], yes=build.give(_ERRNO | number), no=step)
    program = build.program(build.load(0, step))  # the number of the call
    return [sys.executable, "-I", "-c", _LAUNCH, program.hex()]
