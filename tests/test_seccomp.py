"""The filters of system calls, every number evaluated without a kernel."""

import sys
from functools import cache
from itertools import product
from typing import Final

import pytest

from plughost import PlughostError
from plughost.sandbox.seccomp import (
    Filter,
    SyscallRules,
    UnsupportedMachine,
    allowed_syscalls,
    syscall_names,
    template_filter,
    worker_filter,
)
from plughost.sandbox.syscalls import MACHINES

from .bpf_interpreter import ALLOW, KILL, Interpreter

EPERM, ENOTTY, ENOSYS = 1, 25, 38
X86_64, AARCH64, I386, ARM = 0xC000_003E, 0xC000_00B7, 0x4000_0003, 0x4000_0028
ARCHES: Final = {"x86_64": X86_64, "aarch64": AARCH64}
PID: Final = 4321
ALL_RULES: Final = [SyscallRules(*flags) for flags in product((False, True), repeat=3)]
BOTH: Final = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
EVERY_RULE: Final = pytest.mark.parametrize("rules", ALL_RULES, ids=repr)


def names(text: str) -> set[str]:
    return set(text.split())


# What a worker may call, written down a second time, by who needs it. Not generated from the
# policy: whoever changes that must change this and say why.
ALWAYS: Final = names(
    """
    access alarm brk capget chdir clock_getres clock_gettime clock_nanosleep close close_range
    copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
    epoll_wait eventfd eventfd2 exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir
    fdatasync fgetxattr flistxattr flock fstat fstatfs fsync ftruncate futex getcpu getcwd
    getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp
    getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid
    getsockname getsockopt gettid gettimeofday getuid getxattr lgetxattr link linkat listxattr
    llistxattr lseek lstat madvise membarrier mmap mprotect mremap msync munmap nanosleep
    newfstatat pause pipe poll ppoll pread64 preadv preadv2 pselect6 pwrite64 pwritev pwritev2
    read readlink readlinkat readv recvfrom recvmmsg recvmsg rename renameat renameat2
    restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn
    rt_sigsuspend rt_sigtimedwait sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getparam sched_getscheduler sched_rr_get_interval sched_yield select
    sendfile set_robust_list set_tid_address setitimer shutdown sigaltstack signalfd
    signalfd4 stat statfs statx symlink symlinkat sync_file_range sysinfo time timerfd_create
    timerfd_gettime timerfd_settime times truncate umask uname unlink unlinkat wait4 waitid
    write writev
    """
)
WITH_VIEW: Final = {"utime", "utimes", "futimesat", "utimensat"}
WITH_NETWORK: Final = {"connect"}
WITH_PROCESS: Final = {
    *("fork", "vfork", "execve", "setsid", "setpgid", "pidfd_open", "arch_prctl"),
    *("kill", "tgkill", "tkill"),
}
AS_NEW_AS_UNKNOWN: Final = {
    *("clone3", "openat2", "io_uring_setup", "io_uring_enter", "io_uring_register"),
}
# Judged by their arguments: the verdict where all of them are 0 and nothing is granted, and with
# the view, the network, programs.
ARGUMENTS_ZERO: Final[dict[str, tuple[str | int, str | int, str | int, str | int]]] = {
    "open": (ALLOW,) * 4,
    "openat": (ALLOW,) * 4,
    "creat": (ALLOW,) * 4,
    "mkdir": (ALLOW,) * 4,
    "mkdirat": (ALLOW,) * 4,
    "pipe2": (ALLOW,) * 4,
    "fcntl": (ALLOW,) * 4,
    "ioctl": (ENOTTY,) * 4,
    "prctl": (EPERM,) * 4,
    "prlimit64": (ALLOW,) * 4,
    "socketpair": (EPERM,) * 4,
    "setsockopt": (EPERM,) * 4,
    "sendto": (ALLOW,) * 4,
    "sendmsg": (ALLOW,) * 4,
    "sendmmsg": (ALLOW,) * 4,
    "socket": (EPERM,) * 4,
    "chmod": (EPERM, ALLOW, EPERM, EPERM),
    "fchmod": (EPERM, ALLOW, EPERM, EPERM),
    "fchmodat": (EPERM, ALLOW, EPERM, EPERM),
    "fchmodat2": (EPERM, ALLOW, EPERM, EPERM),
    "clone": (EPERM, EPERM, EPERM, ALLOW),
}
TEMPLATE_REFUSES: Final = names(
    """
    _sysctl acct add_key adjtimex bpf clock_adjtime clock_settime create_module delete_module
    fanotify_init fanotify_mark finit_module get_kernel_syms init_module io_uring_enter
    io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl
    lookup_dcookie lsm_set_self_attr memfd_secret migrate_pages modify_ldt move_pages
    name_to_handle_at nfsservctl open_by_handle_at perf_event_open personality pidfd_getfd
    process_madvise process_vm_readv process_vm_writev ptrace query_module quotactl quotactl_fd
    reboot request_key settimeofday swapoff swapon sysfs syslog uselib userfaultfd ustat vhangup
    """
)
TEMPLATE_NEEDS: Final = names(
    """
    capset clone execve fork ioctl kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self mount mount_setattr move_mount open_tree openat2 pidfd_open
    pivot_root prctl prlimit64 seccomp setgroups sethostname setns setresgid setresuid setrlimit
    setsid socket bind listen accept4 umount2 unshare wait4 waitid
    """
)
# No machine made after x86_64 was given these.
ONLY_X86_64: Final = names(
    """
    _sysctl access alarm arch_prctl chmod creat create_module dup2 epoll_create epoll_wait
    eventfd fork futimesat get_kernel_syms getdents getpgrp ioperm iopl link lstat mkdir
    modify_ldt open pause pipe poll query_module readlink rename rmdir select signalfd stat
    symlink sysfs time unlink uselib ustat utime utimes vfork
    """
)


def expected(name: str, rules: SyscallRules) -> str | int:
    """The verdict for a call whose arguments are all 0."""
    granted = (rules.mount_view, rules.network, rules.process)
    if name in AS_NEW_AS_UNKNOWN:
        return ENOSYS
    if name in ARGUMENTS_ZERO:
        alone, *each = ARGUMENTS_ZERO[name]
        return ALLOW if ALLOW in [v for v, on in zip(each, granted, strict=True) if on] else alone
    lists = zip((WITH_VIEW, WITH_NETWORK, WITH_PROCESS), granted, strict=True)
    allowed = name in ALWAYS or any(name in each for each, on in lists if on)
    return ALLOW if allowed else EPERM


def for_pid(made: Filter, pid: int = PID) -> Interpreter:
    program = bytearray(made.program)
    for slot in made.pid_slots:
        program[slot : slot + 4] = pid.to_bytes(4, sys.byteorder)
    return Interpreter(bytes(program))


@cache
def worker(rules: SyscallRules, machine: str) -> Interpreter:
    return for_pid(worker_filter(rules, machine))


def verdict(name: str, *arguments: int, machine: str = "x86_64", **rules: bool) -> str | int:
    number = MACHINES[machine].numbers[name]
    return worker(SyscallRules(**rules), machine).run(ARCHES[machine], number, arguments)


@BOTH
@EVERY_RULE
def test_every_number_gets_the_verdict_that_is_written_down(
    machine: str, rules: SyscallRules
) -> None:
    by_number = {number: name for name, number in MACHINES[machine].numbers.items()}
    filter_ = worker(rules, machine)
    end = max(by_number) + 1
    wrong = {}
    for number in range(end + 600):
        name = by_number.get(number, "")
        wanted = ENOSYS if number >= end else expected(name, rules)
        got = filter_.run(ARCHES[machine], number)
        if got != wanted:
            wrong[name or number] = (got, wanted)
    assert not wrong


@BOTH
@EVERY_RULE
def test_the_kernel_accepts_the_program_and_it_is_short(machine: str, rules: SyscallRules) -> None:
    filter_ = worker(rules, machine)
    assert len(filter_.instructions) < 512
    for number in MACHINES[machine].numbers.values():
        filter_.run(ARCHES[machine], number)
        assert filter_.steps <= 32


@BOTH
@EVERY_RULE
def test_a_call_of_another_architecture_kills(machine: str, rules: SyscallRules) -> None:
    for arch in {X86_64, AARCH64, I386, ARM, 0} - {ARCHES[machine]}:
        for number in range(500):
            assert worker(rules, machine).run(arch, number) == KILL
            assert for_pid(template_filter(machine)).run(arch, number) == KILL


def test_a_call_of_x32_kills() -> None:
    for number in (0x4000_0000, 0x4000_0027, 0x4000_0208, 0x7FFF_FFFF, 0xFFFF_FFFF):
        for rules in ALL_RULES:
            assert worker(rules, "x86_64").run(X86_64, number) == KILL
        assert for_pid(template_filter("x86_64")).run(X86_64, number) == KILL


def test_a_number_out_of_reach_is_unknown_on_aarch64() -> None:
    for number in (0x4000_0000, 0xFFFF_FFFF):
        assert worker(SyscallRules(), "aarch64").run(AARCH64, number) == ENOSYS


@BOTH
def test_the_template_keeps_what_it_needs_and_gives_up_the_rest(machine: str) -> None:
    filter_ = for_pid(template_filter(machine))
    numbers = MACHINES[machine].numbers
    got = {name: filter_.run(ARCHES[machine], number) for name, number in numbers.items()}
    assert {name for name, given in got.items() if given == EPERM} == TEMPLATE_REFUSES & set(got)
    assert {got[name] for name in TEMPLATE_NEEDS & set(got)} == {ALLOW}
    assert filter_.run(ARCHES[machine], max(numbers.values()) + 1) == ENOSYS
    assert not template_filter(machine).pid_slots


@BOTH
def test_nothing_that_a_worker_may_call_is_refused_by_the_filter_that_it_inherits(
    machine: str,
) -> None:
    widest = SyscallRules(mount_view=True, network=True, process=True)
    assert not set(allowed_syscalls(widest)) & TEMPLATE_REFUSES


# Arguments.

THREAD_FLAGS: Final = 0x3D_0F00  # what glibc starts a thread with, CLONE_THREAD among it
FORK_FLAGS: Final = 0x0120_0011
VFORK_FLAGS: Final = 0x4111


@BOTH
def test_a_thread_may_be_started_and_a_process_only_where_granted(machine: str) -> None:
    for process in (False, True):
        assert verdict("clone", THREAD_FLAGS, machine=machine, process=process) == ALLOW
    for flags in (FORK_FLAGS, VFORK_FLAGS):
        assert verdict("clone", flags, machine=machine) == EPERM
        assert verdict("clone", flags, machine=machine, process=True) == ALLOW


@BOTH
@pytest.mark.parametrize("process", [False, True])
@pytest.mark.parametrize(
    "flag",
    [
        *(0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000),
        0x8000,  # CLONE_PARENT
        0x2000,  # CLONE_PTRACE
        0x1_0000_0000,
    ],
)
def test_no_clone_makes_a_namespace_or_leaves_its_parent(
    machine: str, process: bool, flag: int
) -> None:
    for flags in (THREAD_FLAGS | flag, FORK_FLAGS | flag):
        assert verdict("clone", flags, machine=machine, process=process) == EPERM


@pytest.mark.parametrize("bits", [0o4000, 0o2000, 0o6000])
@pytest.mark.parametrize(
    ("machine", "name", "position"),
    [
        ("x86_64", "creat", 1),
        ("x86_64", "mkdir", 1),
        ("x86_64", "chmod", 1),
        *((machine, "mkdirat", 2) for machine in ARCHES),
        *((machine, "fchmod", 1) for machine in ARCHES),
        *((machine, "fchmodat", 2) for machine in ARCHES),
        *((machine, "fchmodat2", 2) for machine in ARCHES),
    ],
)
def test_no_mode_has_a_set_id_bit(machine: str, name: str, position: int, bits: int) -> None:
    before = [0xFFFF_FFFF] * position
    # A mode is 16 bits for the kernel: what stands above does not count, and hides nothing.
    for above in (0, 0x1_0000, 0xDEAD_0000_0000):
        assert verdict(name, *before, 0o755 | bits | above, machine=machine) == EPERM
        assert verdict(name, *before, 0o1777 | above, machine=machine) == ALLOW


@pytest.mark.parametrize(
    ("machine", "name", "before"),
    [("x86_64", "open", [0]), ("x86_64", "openat", [0, 0]), ("aarch64", "openat", [0, 0])],
)
def test_a_new_file_has_no_set_id_bit_and_the_mode_of_an_old_one_is_noise(
    machine: str, name: str, before: list[int]
) -> None:
    directory = 0o200_000 if machine == "x86_64" else 0o40_000
    for creating in (0o100, 0o100 | 0o2_000_000, 0o20_000_000 | directory | 2):
        assert verdict(name, *before, creating, 0o4755, machine=machine) == EPERM
        assert verdict(name, *before, creating, 0o644, machine=machine) == ALLOW
    for opening in (0, directory, 0o2_000_000 | 2):
        assert verdict(name, *before, opening, 0o7777, machine=machine) == ALLOW


@BOTH
def test_a_worker_signals_itself_and_another_only_where_granted(machine: str) -> None:
    for name in ("kill", "tgkill"):
        assert verdict(name, PID, 15, machine=machine) == ALLOW
        for other in (1, 0, -1, -PID, PID + 1, 0x7FFF_FFFF):
            assert verdict(name, other, 15, machine=machine) == EPERM
            assert verdict(name, other, 15, machine=machine, process=True) == ALLOW
    assert verdict("tkill", PID, 15, machine=machine) == EPERM
    for name in ("rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"):
        assert verdict(name, PID, PID, machine=machine, process=True) == EPERM


@BOTH
def test_a_filter_whose_slots_were_not_filled_lets_no_signal_out(machine: str) -> None:
    made = worker_filter(SyscallRules(), machine)
    filter_ = Interpreter(made.program)
    kill = MACHINES[machine].numbers["kill"]
    for pid in (0, 1, -1, PID, 2**22, -(2**31)):
        assert filter_.run(ARCHES[machine], kill, [pid]) == EPERM


@BOTH
@EVERY_RULE
def test_the_pid_slots_are_the_operands_of_comparisons(machine: str, rules: SyscallRules) -> None:
    made = worker_filter(rules, machine)
    assert len(made.pid_slots) == (1 if rules.process else 3)
    for slot in made.pid_slots:
        code, *_, operand = Interpreter(made.program).instructions[slot // 8]
        assert slot % 8 == 4
        assert (code, operand) == (0x15, 0x7FFF_FFFF)


@BOTH
def test_limits_are_read_and_never_set(machine: str) -> None:
    for pid in (0, PID):
        assert verdict("prlimit64", pid, 7, 0, 0x7FFF_0000, machine=machine) == ALLOW
        for limits in (0x7FFF_0000, 0x7FFF_0000_0000, 1):
            assert verdict("prlimit64", pid, 7, limits, 0, machine=machine) == EPERM
    assert verdict("prlimit64", PID + 1, 7, 0, 1, machine=machine) == EPERM
    assert verdict("setrlimit", 7, 0, machine=machine) == EPERM


@BOTH
def test_a_socket_pair_is_a_unix_stream(machine: str) -> None:
    for flags in (0, 0o2_000_000, 0o4000, 0o2_004_000):
        assert verdict("socketpair", 1, 1 | flags, 0, machine=machine) == ALLOW
        for kind in (2, 3, 5):
            assert verdict("socketpair", 1, kind | flags, 0, machine=machine) == EPERM
    for family in (2, 10, 16, 30, 40):
        assert verdict("socketpair", family, 1, 0, machine=machine) == EPERM


@BOTH
def test_no_socket_gets_more_of_the_kernels_memory(machine: str) -> None:
    for network in (False, True):
        for option in (7, 8, 32, 33):  # SO_SNDBUF, SO_RCVBUF, and the same by force
            assert verdict("setsockopt", 3, 1, option, machine=machine, network=network) == EPERM
        assert verdict("setsockopt", 3, 1, 9, machine=machine, network=network) == ALLOW


@BOTH
def test_options_of_tcp_are_for_those_who_may_connect(machine: str) -> None:
    for option in (1, 4):  # TCP_NODELAY, TCP_KEEPIDLE
        assert verdict("setsockopt", 3, 6, option, machine=machine) == EPERM
        assert verdict("setsockopt", 3, 6, option, machine=machine, network=True) == ALLOW
    for option in (19, 23, 31):  # TCP_REPAIR, TCP_FASTOPEN, TCP_ULP
        assert verdict("setsockopt", 3, 6, option, machine=machine, network=True) == EPERM


@BOTH
def test_a_socket_is_tcp_or_udp_over_ipv4_and_only_where_granted(machine: str) -> None:
    good = {(2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 17)}
    for family, kind, protocol in product(range(48), range(7), (0, 1, 6, 17, 262)):
        for flags in (0, 0o2_004_000):
            wanted = ALLOW if (family, kind, protocol) in good else EPERM
            given = (family, kind | flags, protocol)
            assert verdict("socket", *given, machine=machine, network=True) == wanted
            assert verdict("socket", *given, machine=machine) == EPERM
    for name in ("bind", "listen", "accept", "accept4"):
        assert verdict(name, 3, 1, machine=machine, network=True) == EPERM
    assert verdict("sendto", 3, 1, 1, 0x2000_0000, machine=machine, network=True) == EPERM
    assert verdict("sendmsg", 3, 1, 0x2000_4000, machine=machine, network=True) == EPERM
    assert verdict("sendmmsg", 3, 1, 1, 0x2000_0000, machine=machine, network=True) == EPERM
    assert verdict("sendto", 3, 1, 1, 0x4000, machine=machine, network=True) == ALLOW


@BOTH
def test_only_listed_commands_reach_a_descriptor(machine: str) -> None:
    devices = {n for n in range(0x10000) if verdict("ioctl", 1, n, machine=machine) == ALLOW}
    assert devices == {0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451}
    assert verdict("ioctl", 1, 0x802C_542A, machine=machine) == ALLOW
    assert verdict("ioctl", 1, 0x5412, machine=machine) == ENOTTY  # TIOCSTI
    commands = {n for n in range(4096) if verdict("fcntl", 1, n, machine=machine) == ALLOW}
    assert commands == {*range(8), 9, 36, 37, 38, 1025, 1027, 1030, 1032, 1034}
    # The kernel reads 32 bits of a command: the same one with more above is the same.
    assert verdict("ioctl", 1, 0xF_0000_5412, machine=machine) == ENOTTY
    assert verdict("fcntl", 1, 0xF_0000_0008, machine=machine) == EPERM
    assert verdict("pipe2", 1, 0o2_004_000, machine=machine) == ALLOW
    assert verdict("pipe2", 1, 0o200, machine=machine) == EPERM


@BOTH
def test_only_listed_options_reach_prctl(machine: str) -> None:
    options = {n for n in range(200) if verdict("prctl", n, machine=machine) == ALLOW}
    assert options == {2, 3, 15, 16, 21, 23, 39}
    assert verdict("prctl", 0x5356_4D41, machine=machine) == ALLOW


# Names.


@BOTH
def test_every_name_of_the_policy_is_in_the_tables(machine: str) -> None:
    absent = syscall_names() - MACHINES[machine].numbers.keys()
    assert absent == (ONLY_X86_64 if machine == "aarch64" else set())


def test_a_machine_without_a_table_is_refused_by_name() -> None:
    with pytest.raises(
        UnsupportedMachine, match=r"riscv64.* x86_64 and aarch64.*--without seccomp"
    ):
        worker_filter(SyscallRules(), "riscv64")
    with pytest.raises(UnsupportedMachine, match="this machine"):
        template_filter("")
    assert issubclass(UnsupportedMachine, PlughostError)


def test_a_filter_is_made_once() -> None:
    assert worker_filter(SyscallRules()) is worker_filter(SyscallRules())


def test_the_names_that_a_worker_may_call_are_those_that_the_filter_can_allow() -> None:
    assert set(allowed_syscalls(SyscallRules(mount_view=False))) == ALWAYS | {
        name for name, verdicts in ARGUMENTS_ZERO.items() if EPERM not in verdicts
    } | {"kill", "tgkill", "prctl", "setsockopt", "socketpair", "clone"}
