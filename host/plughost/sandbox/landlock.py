"""Landlock: what this kernel knows of it, and the access rights by use (linux/landlock.h)."""

import ctypes
import os
import stat
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

__all__ = [
    "EXECUTE",
    "GRANTED",
    "OWN",
    "READABLE",
    "READ_FILE",
    "LandlockFeatures",
    "landlock_features",
]

_CREATE_RULESET: Final = 444  # the same on all machines
_VERSION_FLAG: Final = 1

EXECUTE: Final = 1
READ_FILE: Final = 4
_WRITE_FILE, _READ_DIR = 2, 8
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG, _MAKE_SYM = 1 << 7, 1 << 8, 1 << 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_FS_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}  # ABI: how many rights it knows
_OF_FILES: Final = EXECUTE | _WRITE_FILE | READ_FILE | _TRUNCATE  # a file knows no others

_NET_RIGHTS: Final = 3  # bind and connect by TCP, ABI 4
_SCOPE_ABSTRACT_UNIX, _SCOPE_SIGNAL = 1, 2  # ABI 6

READABLE: Final = READ_FILE | _READ_DIR
# No sockets, pipes, devices, programs: what is left in a folder is data. In a folder that others
# read, a symbolic link could lead them astray.
GRANTED: Final = (
    READABLE | _WRITE_FILE | _TRUNCATE | _REFER
    | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG
)  # fmt: skip
OWN: Final = GRANTED | _MAKE_SYM


@dataclass(frozen=True, slots=True)
class LandlockFeatures:
    """What a kernel's Landlock can handle; `abi` is 0 where there is none."""

    abi: int
    fs: int = 0
    net: int = 0
    scoped: int = 0

    def rights(self, path: str, wanted: int) -> int:
        """The rights for a rule on `path`: those that the kernel and its kind of file know."""
        known = wanted & self.fs
        return known if stat.S_ISDIR(os.stat(path).st_mode) else known & _OF_FILES  # noqa: PTH116


@cache
def landlock_features() -> LandlockFeatures:
    """Ask the kernel. Nothing is restricted by it."""
    abi = _create_ruleset(None, 0, _VERSION_FLAG)
    if abi < 1:
        return LandlockFeatures(0)
    rights = max(count for since, count in _FS_RIGHTS.items() if since <= abi)
    fs, net = (1 << rights) - 1, _NET_RIGHTS if abi >= 4 else 0
    if abi < 6:
        return LandlockFeatures(abi, fs, net)
    # RHEL 9 has kernels that claim ABI 6 and refuse the scope of signals (xz, my_landlock.h).
    for scoped in (_SCOPE_ABSTRACT_UNIX | _SCOPE_SIGNAL, _SCOPE_ABSTRACT_UNIX, 0):
        fd = _create_ruleset((ctypes.c_uint64 * 3)(fs, net, scoped), 24, 0)
        if fd >= 0:
            os.close(fd)
            return LandlockFeatures(abi, fs, net, scoped)
    return LandlockFeatures(0)


def _create_ruleset(attributes: Any, size: int, flags: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(
        ctypes.c_long(_CREATE_RULESET), attributes, ctypes.c_size_t(size), ctypes.c_uint32(flags)
    )
    return result
