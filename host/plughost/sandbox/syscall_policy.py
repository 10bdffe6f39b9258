"""Which system calls a worker may make, and with which arguments. Data; `seccomp` compiles it.

An allow-list. What is on none of the lists here is refused: tracing, other processes' memory,
mounts, namespaces, keys, modules, clocks, ids, owners, devices, shared memory of System V,
message queues, watching files, memory that has a file's descriptor (it could be executed).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "NEVER_BY_ANYONE",
    "NOT_THERE",
    "NO_SUCH_DEVICE_CALL",
    "Alternatives",
    "SyscallRules",
    "Test",
    "checked_calls",
    "plain_calls",
]


@dataclass(frozen=True, slots=True)
class SyscallRules:
    """What the plan decided of a worker's system calls."""

    mount_view: bool = True
    """The worker sees its own files only, so it may change their modes and times."""
    network: bool = False
    """It may connect, from a network namespace of its own. It never listens."""
    process: bool = False
    """It may start programs and signal them; scopes and the pid namespace confine the signals."""


@dataclass(frozen=True, slots=True)
class Test:
    """A test of the lower 32 bits of one argument, after a mask.

    The kernel itself takes an int, an unsigned int or a mode from those bits and drops the rest,
    so nothing can hide above. `high` tests the upper 32 bits of a pointer or a long.
    """

    argument: int
    values: tuple[int, ...] | None
    """None stands for the worker's own process id."""
    mask: int = 0xFFFF_FFFF
    high: bool = False


Alternatives = Sequence[Sequence[Test]]
"""Allowed where all tests of one of them hold."""


def _one_of(argument: int, *values: int) -> Test:
    return Test(argument, values)


def _without(argument: int, bits: int) -> Test:
    return Test(argument, (0,), mask=bits)


def _with(argument: int, bits: int) -> Test:
    return Test(argument, (bits,), mask=bits)


def _own_pid(argument: int) -> Test:
    return Test(argument, None)


def _null(argument: int) -> tuple[Test, Test]:
    return Test(argument, (0,)), Test(argument, (0,), high=True)


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_PLAIN: Final = _names(
    # Files. Paths are the business of the mount view and of Landlock.
    """
    read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range
    lseek dup dup2 dup3 stat fstat lstat newfstatat statx access faccessat faccessat2 readlink
    readlinkat getdents getdents64 getcwd chdir fchdir rename renameat renameat2 unlink unlinkat
    rmdir link linkat symlink symlinkat truncate ftruncate fallocate fsync fdatasync
    sync_file_range fadvise64 flock sendfile copy_file_range statfs fstatfs umask getxattr
    lgetxattr fgetxattr listxattr llistxattr flistxattr
    """,
    # Waiting.
    """
    poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait
    epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime
    timerfd_gettime pipe wait4 waitid pause nanosleep clock_nanosleep
    """,
    # Memory and threads. Memory may be writable and executable at once: a plugin may bring native
    # code anyway, and where the view has no /proc and no folder to execute from, that is the one
    # way left for libffi to make the callbacks of ctypes and cffi (measured with 3.4.4).
    """
    mmap mprotect munmap mremap brk madvise msync futex set_robust_list set_tid_address rseq
    membarrier gettid exit exit_group sched_yield sched_getaffinity sched_getparam
    sched_getscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval getcpu
    getpriority
    """,
    # Its own signals, time, and what it is.
    """
    rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait
    sigaltstack alarm setitimer getitimer restart_syscall clock_gettime clock_getres gettimeofday
    time times getpid getppid getuid geteuid getgid getegid getresuid getresgid getgroups getpgid
    getpgrp getsid capget getrlimit getrusage sysinfo uname getrandom
    """,
    # Sockets that are open already: the worker's pipes, and its pairs.
    """
    recvfrom recvmsg recvmmsg shutdown getsockname getpeername getsockopt
    """,
)
_SENDING: Final = {"sendto": 3, "sendmsg": 2, "sendmmsg": 3}  # where their flags are
_TIMES: Final = frozenset({"utime", "utimes", "futimesat", "utimensat"})
_MODES: Final = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2}
_SIGNALS: Final = frozenset({"kill", "tgkill"})
# arch_prctl: the dynamic linker of x86_64 sets up its thread with it.
_PROGRAMS: Final = _names("fork vfork execve setsid setpgid pidfd_open tkill arch_prctl")

# asm-generic/fcntl.h, linux/fcntl.h
_CREATES_A_FILE: Final = 0o100 | 0o20_000_000  # O_CREAT, __O_TMPFILE; without, the mode is noise
_NOTIFICATION_PIPE: Final = 0o200  # a queue of the kernel's events: nobody uses it but exploits
# Not F_SETOWN, F_SETSIG, F_SETOWN_EX (any signal to any process of the same user), F_SETLEASE,
# F_NOTIFY (watch and stall others' files), F_SETPIPE_SZ (memory that nothing counts).
_FCNTL_COMMANDS: Final = (
    *range(8),  # F_DUPFD to F_SETLKW
    9,  # F_GETOWN
    *range(36, 39),  # F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW
    1025,  # F_GETLEASE
    1027,  # F_DUPFD_QUERY
    1030,  # F_DUPFD_CLOEXEC
    1032,  # F_GETPIPE_SZ
    1034,  # F_GET_SEALS
)
# A set-user-id file in the data folder would hand the operator's id to whoever runs it.
_SET_ID_BITS: Final = 0o6000

# asm-generic/ioctls.h
_IOCTL_COMMANDS: Final = (
    0x5401,  # TCGETS: isatty()
    0x802C_542A,  # TCGETS2: the same, from glibc 2.42 on
    0x5413,  # TIOCGWINSZ
    0x541B,  # FIONREAD
    0x5421,  # FIONBIO
    0x5450,  # FIONCLEX
    0x5451,  # FIOCLEX
)

# linux/prctl.h. Not PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER (outlive the host), PR_SET_DUMPABLE.
_PRCTL_OPTIONS: Final = (
    2,  # PR_GET_PDEATHSIG
    3,  # PR_GET_DUMPABLE
    15,  # PR_SET_NAME
    16,  # PR_GET_NAME
    21,  # PR_GET_SECCOMP
    23,  # PR_CAPBSET_READ
    39,  # PR_GET_NO_NEW_PRIVS
    0x5356_4D41,  # PR_SET_VMA: names for anonymous memory
)

# linux/sched.h
_CLONE_THREAD: Final = 0x1_0000
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; CLONE_PARENT makes a sibling
# that no one takes for the worker's child; CLONE_PTRACE. CLONE_NEWTIME exists for clone3 only.
_CLONE_REFUSED: Final = 0x7E02_0000 | 0x8000 | 0x2000

# linux/socket.h, linux/in.h
_AF_UNIX, _AF_INET = 1, 2
_STREAM, _DATAGRAM = 1, 2
_SOCKET_FLAGS: Final = 0o2_000_000 | 0o4000  # SOCK_CLOEXEC, SOCK_NONBLOCK
_IP, _TCP, _UDP = 0, 6, 17
_FAST_OPEN: Final = 0x2000_0000  # MSG_FASTOPEN connects without asking Landlock

# asm-generic/socket.h. Not SO_SNDBUF and SO_RCVBUF: the kernel's memory, which no limit counts.
_SOL_SOCKET: Final = 1
_SOCKET_OPTIONS: Final = (
    2,  # SO_REUSEADDR
    5,  # SO_DONTROUTE
    6,  # SO_BROADCAST
    9,  # SO_KEEPALIVE
    10,  # SO_OOBINLINE
    13,  # SO_LINGER
    15,  # SO_REUSEPORT
    18,  # SO_RCVLOWAT
    *(20, 21, 66, 67),  # SO_RCVTIMEO, SO_SNDTIMEO, with either size of the time
)
# linux/tcp.h: delays, corks, keeping alive. Not TCP_ULP (kernel TLS), TCP_REPAIR, TCP_FASTOPEN.
_TCP_OPTIONS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 12, 18)
_IP_OPTIONS: Final = (1, 11)  # IP_TOS; IP_RECVERR, which resolvers want

NO_SUCH_DEVICE_CALL: Final = frozenset({"ioctl"})
"""Refused with ENOTTY, the answer for a file that is no device."""

NOT_THERE: Final = _names(
    # Their arguments are in memory, where a filter cannot see them. With ENOSYS libraries fall
    # back to the calls before them.
    "clone3 openat2 io_uring_setup io_uring_enter io_uring_register"
)
"""Refused with ENOSYS, as an older kernel would."""

NEVER_BY_ANYONE: Final = _names(
    """
    ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd move_pages
    migrate_pages bpf perf_event_open keyctl add_key request_key io_uring_setup io_uring_enter
    io_uring_register userfaultfd kexec_load kexec_file_load init_module finit_module
    delete_module create_module query_module get_kernel_syms reboot swapon swapoff acct quotactl
    quotactl_fd name_to_handle_at open_by_handle_at memfd_secret syslog clock_settime
    clock_adjtime adjtimex settimeofday iopl ioperm modify_ldt vhangup lookup_dcookie nfsservctl
    fanotify_init fanotify_mark personality uselib _sysctl ustat sysfs lsm_set_self_attr
    """
)
"""What neither the template process nor a worker ever needs."""


def _socket_type(kind: int) -> Test:
    return Test(1, (kind,), mask=0xFFFF_FFFF & ~_SOCKET_FLAGS)


def plain_calls(rules: SyscallRules) -> frozenset[str]:
    """The calls that are allowed whatever their arguments."""
    names = _PLAIN
    if rules.mount_view:
        names |= _TIMES
    if rules.network:
        names |= {"connect"}
    else:
        names |= _SENDING.keys()
    if rules.process:
        names |= _PROGRAMS | _SIGNALS
    return names


def checked_calls(rules: SyscallRules) -> Mapping[str, Alternatives]:
    """The calls that are allowed with some arguments."""
    clone = [_without(0, _CLONE_REFUSED), Test(0, (0,), high=True)]
    calls: dict[str, Alternatives] = {
        "open": [[_without(1, _CREATES_A_FILE)], [_without(2, _SET_ID_BITS)]],
        "openat": [[_without(2, _CREATES_A_FILE)], [_without(3, _SET_ID_BITS)]],
        "creat": [[_without(1, _SET_ID_BITS)]],
        "mkdir": [[_without(1, _SET_ID_BITS)]],
        "mkdirat": [[_without(2, _SET_ID_BITS)]],
        "pipe2": [[_without(1, _NOTIFICATION_PIPE)]],
        "fcntl": [[_one_of(1, *_FCNTL_COMMANDS)]],
        "ioctl": [[_one_of(1, *_IOCTL_COMMANDS)]],
        "prctl": [[_one_of(0, *_PRCTL_OPTIONS)]],
        "clone": [clone if rules.process else [_with(0, _CLONE_THREAD), *clone]],
        # A pair of another type could send to any socket that has a path.
        "socketpair": [[_one_of(0, _AF_UNIX), _socket_type(_STREAM)]],
        "setsockopt": [[_one_of(1, _SOL_SOCKET), _one_of(2, *_SOCKET_OPTIONS)]],
        # A new limit is behind a pointer: read only.
        "prlimit64": [[_one_of(0, 0), *_null(2)], [_own_pid(0), *_null(2)]],
    }
    if rules.mount_view:
        calls |= {name: [[_without(mode, _SET_ID_BITS)]] for name, mode in _MODES.items()}
    if rules.network:
        # Datagrams are for the resolver on the namespace's loopback.
        calls["socket"] = [
            [_one_of(0, _AF_INET), _socket_type(kind), _one_of(2, 0, protocol)]
            for kind, protocol in ((_STREAM, _TCP), (_DATAGRAM, _UDP))
        ]
        calls["setsockopt"] = [
            *calls["setsockopt"],
            [_one_of(1, _TCP), _one_of(2, *_TCP_OPTIONS)],
            [_one_of(1, _IP), _one_of(2, *_IP_OPTIONS)],
        ]
        calls |= {name: [[_without(flags, _FAST_OPEN)]] for name, flags in _SENDING.items()}
    if not rules.process:
        calls |= {name: [[_own_pid(0)]] for name in _SIGNALS}
    return calls
