"""System calls by number, and ways to the same end that are tried one after the other."""

import ctypes
import errno
import os
import platform
from collections.abc import Callable
from typing import Any, Final, TypeAlias

__all__ = [
    "SYSTEM_CALLS",
    "Answer",
    "NotHere",
    "call",
    "check",
    "exit_status",
    "hold",
    "let_go",
    "libc",
    "one_way",
    "ways",
]

Answer: TypeAlias = tuple[bool, str]
"""Whether it got anything, and what, or what stood in its way."""

libc: Final = ctypes.CDLL(None, use_errno=True)

# asm/unistd_64.h; from 424 on all architectures have the same numbers.
_X86_64: Final = {
    "open": 2, "mmap": 9, "ioctl": 16, "socket": 41, "connect": 42, "sendto": 44,
    "socketpair": 53, "clone": 56, "fork": 57, "vfork": 58, "execve": 59, "kill": 62,
    "semget": 64, "msgget": 68, "msgsnd": 69, "shmget": 29, "shmat": 30, "shmctl": 31,
    "fcntl": 72, "truncate": 76, "rename": 82, "mkdir": 83, "creat": 85, "link": 86,
    "unlink": 87, "symlink": 88, "chmod": 90, "fchmod": 91, "ptrace": 101, "syslog": 103,
    "setuid": 105, "mknod": 133, "personality": 135, "setpriority": 141,
    "sched_setscheduler": 144, "modify_ldt": 154, "pivot_root": 155, "chroot": 161,
    "acct": 163, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169,
    "sethostname": 170, "ioperm": 173, "init_module": 175, "setxattr": 188, "tkill": 200,
    "sched_setaffinity": 203, "tgkill": 234, "mq_open": 240, "mq_timedsend": 242,
    "mq_timedreceive": 243, "kexec_load": 246, "add_key": 248, "request_key": 249,
    "keyctl": 250, "ioprio_set": 251, "inotify_init": 253, "inotify_add_watch": 254,
    "openat": 257, "mkdirat": 258, "mknodat": 259, "unlinkat": 263, "renameat": 264,
    "linkat": 265, "symlinkat": 266, "fchmodat": 268, "unshare": 272, "move_pages": 279,
    "utimensat": 280, "inotify_init1": 294, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297,
    "perf_event_open": 298, "fanotify_init": 300, "fanotify_mark": 301, "prlimit64": 302,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313,
    "sched_setattr": 314, "renameat2": 316, "memfd_create": 319, "bpf": 321, "execveat": 322,
    "userfaultfd": 323, "prctl": 157, "migrate_pages": 256, "statx": 332,
}  # fmt: skip
_EVERYWHERE: Final = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "open_tree": 428, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "pidfd_open": 434, "clone3": 435, "openat2": 437,
    "pidfd_getfd": 438, "process_madvise": 440, "memfd_secret": 447, "process_mrelease": 448,
    "fchmodat2": 452,
}  # fmt: skip
SYSTEM_CALLS: Final = _EVERYWHERE | (_X86_64 if platform.machine() == "x86_64" else {})

_held: Final[list[Callable[[], object]]] = []


class NotHere(Exception):
    """Raised when the machine does not have what is attacked: neither stopped nor got through."""


def call(name: str, *arguments: Any) -> int:
    """A system call, with numbers, bytes and ctypes objects. Raises `OSError`, `NotHere`."""
    number = SYSTEM_CALLS.get(name)
    if number is None:
        raise NotHere(f"no number of {name} for {platform.machine()}")
    return check(name, libc.syscall(ctypes.c_long(number), *map(_argument, arguments)))


def _argument(value: Any) -> Any:
    if isinstance(value, int):
        return ctypes.c_long(value)
    if value is None or isinstance(value, bytes):
        return ctypes.c_char_p(value)
    if isinstance(value, ctypes.Structure | ctypes.Array):
        return ctypes.byref(value)
    return value


def check(name: str, result: int) -> int:
    """The result of a function of libc's. Raises `OSError` for -1."""
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


def one_way(way: Callable[[], object]) -> Answer:
    """An attack with one way."""
    return ways(only=way)


def ways(**tries: Callable[[], object]) -> Answer:
    """Try them all: one that returns has got something, one that raises `OSError` has not."""
    got, told, missing = False, [], []
    for name, way in tries.items():
        label = "" if name == "only" else f"{name}: "
        try:
            result = way()
        except NotHere as exc:
            missing.append(str(exc))
        except (OSError, MemoryError) as exc:
            told.append(f"{label}{_reason(exc)}")
        else:
            got = True
            told.append(f"{label}{result}")
    if len(missing) == len(tries):
        raise NotHere(", ".join(missing))
    return got, "; ".join(told)


def _reason(exc: OSError | MemoryError) -> str:
    number = getattr(exc, "errno", None)
    return type(exc).__name__ if number is None else errno.errorcode.get(number, str(number))


def hold(close: Callable[[], object]) -> None:
    """Keep something until the next attempt, so that the host can look at it."""
    _held.append(close)


def let_go() -> None:
    """Give up what was held."""
    while _held:
        _held.pop()()


def exit_status(pid: int) -> int:
    """Wait for a child process. Its exit code, or minus a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
