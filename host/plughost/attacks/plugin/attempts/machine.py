"""What belongs to the whole machine.

The arguments are wrong or change nothing: a kernel that gets as far as to look at them has allowed
the call. It never happens, control run or not.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from .native import Answer, call, check, hold, libc, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]


def _looked_at(act: Callable[[], object], *signs: int) -> Callable[[], str]:
    """Whether it failed with an error that comes behind the check of the permission."""

    def attempt() -> str:
        try:
            return f"done: {act()}"
        except OSError as exc:
            if exc.errno not in signs:
                raise
            name = errno.errorcode[exc.errno]
        return f"allowed, but for a wrong argument ({name})"

    return attempt


def restart_the_machine(_: Target) -> Answer:
    # Magic numbers that are none: EINVAL, once the permission has been checked.
    return one_way(_looked_at(lambda: call("reboot", 1, 2, 0, 0), errno.EINVAL))


def load_a_kernel_module(_: Target) -> Answer:
    # Not a module: ENOEXEC or EFAULT, once the permission has been checked.
    return ways(
        memory=_looked_at(
            lambda: call("init_module", None, 0, b""), errno.EFAULT, errno.ENOEXEC, errno.EINVAL
        ),
        file=_looked_at(lambda: call("finit_module", -1, b"", 0), errno.EBADF),
    )


def load_another_kernel(_: Target) -> Answer:
    # More segments than there can be: EINVAL, once the permission has been checked.
    return one_way(_looked_at(lambda: call("kexec_load", 0, 1 << 20, None, 0), errno.EINVAL))


def add_swap_space(_: Target) -> Answer:
    return one_way(_looked_at(lambda: call("swapon", None, 0), errno.EFAULT))


def set_the_clock(_: Target) -> Answer:
    # A tick that is out of range: EINVAL, once the permission has been checked.
    timex = (ctypes.c_int64 * 26)()
    timex[0] = 0x4000  # ADJ_TICK
    timex[11] = 1
    return one_way(
        _looked_at(lambda: check("adjtimex", libc.adjtimex(ctypes.byref(timex))), errno.EINVAL)
    )


def set_the_host_name(_: Target) -> Answer:
    """To what it is."""
    name = socket.gethostname().encode()
    return one_way(lambda: call("sethostname", name, len(name)))


def switch_accounting(_: Target) -> Answer:
    # A path that is not there: ENOENT, once the permission has been checked.
    return one_way(_looked_at(lambda: call("acct", b"/plughost-none"), errno.ENOENT))


def use_ports(_: Target) -> Answer:
    return one_way(lambda: call("ioperm", 0x80, 1, 1))


def open_kernel_memory(_: Target) -> Answer:
    def opened(path: str) -> str:
        fd = os.open(path, os.O_RDONLY)
        hold(lambda: os.close(fd))
        return f"{path} is open"

    return ways(
        mem=lambda: opened("/dev/mem"),
        port=lambda: opened("/dev/port"),
        kcore=lambda: opened("/proc/kcore"),
        kvm=lambda: opened("/dev/kvm"),
        fuse=lambda: opened("/dev/fuse"),
        loop=lambda: opened("/dev/loop-control"),
        console=lambda: opened("/dev/console"),
    )
