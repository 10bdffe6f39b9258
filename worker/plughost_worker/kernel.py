"""The system calls of the sandbox that Python has no name for."""

import ctypes
import os
import signal
import sys
from errno import EINVAL, ENOSYS
from typing import Any, Final

from plughost_protocol.confinement import NEW_USER

_AT_FDCWD: Final = -100  # fcntl.h

_libc: Final[Any] = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
# Keeps the GIL, which the one thread that there is holds in the fork as well.
_libc_with_gil: Final[Any] = ctypes.PyDLL(None, use_errno=True) if _libc is not None else None
# Made here, so that no worker makes them for itself: functions that no template calls, and types.
for _name in ("mount", "umount2", "pivot_root", "capget", "capset", "syscall"):
    getattr(_libc, _name, None)
_TwoWords, _ThreeWords, _FourWords = (ctypes.c_uint64 * size for size in (2, 3, 4))
_TwoHalfWords, _SixHalfWords = (ctypes.c_uint32 * size for size in (2, 6))


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _syscall(number: int, *arguments: int | bytes | ctypes.Array[Any] | None) -> int:
    # Variadic: what is not a long would be passed as an int, with the upper half undefined.
    passed = [ctypes.c_long(given) if isinstance(given, int) else given for given in arguments]
    return _check(_libc.syscall(ctypes.c_long(number), *passed))


def fork() -> int:
    """fork(2), for a process of one thread. Raises `OSError`.

    Without what `os.fork` has Python and its modules do in the child, which is for locks that
    other threads held: it takes a millisecond, and writes to a hundred pages of memory that is
    shared with the parent. `random` must not be imported, which would draw the same numbers.
    """
    return _check(_libc_with_gil.fork())


def fork_sibling() -> int:
    """A fork that is a child of our parent, for a process of one thread. Raises `OSError`.

    Before it starts a thread it must fork once more: until then libc takes its number for ours.
    """
    number = _CLONE.get(os.uname().machine)
    if number is None:
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    flags = ctypes.c_ulong(_CLONE_PARENT | signal.SIGCHLD)
    return _check(_libc_with_gil.syscall(ctypes.c_long(number), flags, *[ctypes.c_long(0)] * 4))


_CLONE_PARENT: Final = 0x8000  # linux/sched.h
_CLONE: Final = {"x86_64": 56, "aarch64": 220, "riscv64": 220}


def prctl(option: int, value: int | bytes) -> int:
    """prctl(2). Raises `OSError`."""
    given = ctypes.c_ulong(value) if isinstance(value, int) else value
    # Some options are refused unless the rest is 0.
    return _check(_libc.prctl(option, given, *[ctypes.c_ulong(0)] * 3))


def unshare(flags: int) -> None:
    """unshare(2)."""
    global _bounding_set
    _check(_libc.unshare(ctypes.c_int(flags)))
    if flags & NEW_USER:
        _bounding_set = _ALL


def set_hostname(name: str) -> None:
    """sethostname(2)."""
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name.encode()))))


# Mounts: linux/mount.h, linux/openat2.h. The numbers of newer calls are those of all machines.

_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_RESOLVE_NO_SYMLINKS: Final = 4

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MNT_DETACH: Final = 2


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2)."""
    names = [name.encode() if name else None for name in (source, target, kind)]
    _check(_libc.mount(*names, ctypes.c_ulong(flags), options.encode() if options else None))


def open_path(path: str) -> int:
    """An O_PATH descriptor. Raises `OSError` (ELOOP) where the path leads over a symbolic link."""
    how = _ThreeWords(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_NO_SYMLINKS)
    return _syscall(_OPENAT2, _AT_FDCWD, path.encode(), how, ctypes.sizeof(how))


def bind_mount(source: int, target: str, attributes: int) -> None:
    """Mount what an O_PATH descriptor shows at `target`, with MOUNT_ATTR_* flags throughout.

    The descriptor, not a path: what is mounted is what was opened.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    tree = _syscall(_OPEN_TREE, source, b"", flags)
    try:
        _set_attributes(tree, attributes)
        _syscall(_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def _set_attributes(tree: int, attributes: int) -> None:
    wanted = _FourWords(attributes, 0, 0, 0)  # struct mount_attr
    flags = _AT_EMPTY_PATH | _AT_RECURSIVE
    _syscall(_MOUNT_SETATTR, tree, b"", flags, wanted, ctypes.sizeof(wanted))


def make_read_only(path: str) -> None:
    """Make the one mount at `path` read-only."""
    wanted = _FourWords(MOUNT_ATTR_RDONLY, 0, 0, 0)
    _syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), 0, wanted, ctypes.sizeof(wanted))


def pivot_root(new_root: str) -> None:
    """Make a mount the root, and detach the old one."""
    os.chdir(new_root)
    _check(_libc.pivot_root(b".", b"."))
    _check(_libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


# Privileges: linux/prctl.h, linux/capability.h, linux/securebits.h

PR_SET_PDEATHSIG: Final = 1
PR_SET_NAME: Final = 15
_PR_SET_SECCOMP: Final = 22
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_NO_ROOT_LOCKED: Final = 0x2F  # no power for uid 0, none kept over a change of it, locked
_CAPABILITY_VERSION_3: Final = 0x20080522
_CAP_AUDIT_READ, _LAST_CAPABILITY = 37, 63  # every kernel with Landlock has the first


_ALL: Final = ~0
# What the bounding set may hold still: a fork need not take out what its parent has. In a user
# namespace that is new it is full.
_bounding_set = _ALL


def limit_capabilities(keep: int) -> None:
    """Take all capabilities but those of a mask out of the bounding set."""
    global _bounding_set
    drop = _bounding_set & ~keep
    for number in range(_LAST_CAPABILITY + 1):
        if drop >> number & 1:
            try:
                prctl(_PR_CAPBSET_DROP, number)
            except OSError as exc:
                if exc.errno == EINVAL and number > _CAP_AUDIT_READ:
                    break  # past the last that this kernel has
                raise
    _bounding_set &= keep


def lock_root() -> None:
    """Let user id 0 mean nothing, for good."""
    prctl(_PR_SET_SECUREBITS, _NO_ROOT_LOCKED)


def keep_capabilities(mask: int) -> None:
    """Give up every capability that is not in a mask, and the ambient ones."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = _TwoHalfWords(_CAPABILITY_VERSION_3, 0)
    data = _SixHalfWords()  # effective, permitted, inheritable: the lower halves first
    _check(_libc.capget(header, data))
    for half, of_mask in ((0, mask & 0xFFFF_FFFF), (3, mask >> 32)):
        data[half] &= of_mask
        data[half + 1] &= of_mask
        data[half + 2] = 0
    _check(_libc.capset(header, data))


def no_new_privileges() -> None:
    """Let no program that is executed give more than its caller has."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install_filter(program: bytes) -> None:
    """Install a seccomp filter, for this process and all that it starts. It has one thread."""
    header = _Program(len(program) // 8, program)
    _check(_libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(header)))


# Landlock, as linux/landlock.h has it.

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_ACCESS_NET_CONNECT_TCP: Final = 2


class _PathBeneath(ctypes.Structure):
    """struct landlock_path_beneath_attr."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class Ruleset:
    """A Landlock ruleset that is being filled."""

    def __init__(self, handled_fs: int, handled_net: int, scoped: int) -> None:
        handled = _ThreeWords(handled_fs, handled_net, scoped)
        # An older kernel takes the shorter structure, without what it does not know.
        size = 24 if scoped else 16 if handled_net else 8
        self._fd = _syscall(_CREATE_RULESET, handled, size, 0)

    def allow_path(self, path: str, access: int) -> None:
        """Allow access to a file, or to all below a folder."""
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = bytes(_PathBeneath(access, parent))
            _syscall(_ADD_RULE, self._fd, _RULE_PATH_BENEATH, rule, 0)
        finally:
            os.close(parent)

    def allow_connect(self, port: int) -> None:
        """Allow TCP connections to a port."""
        rule = _TwoWords(_ACCESS_NET_CONNECT_TCP, port)
        _syscall(_ADD_RULE, self._fd, _RULE_NET_PORT, rule, 0)

    def restrict(self) -> None:
        """Hold this process to it, for good."""
        _syscall(_RESTRICT_SELF, self._fd, 0)
        os.close(self._fd)
