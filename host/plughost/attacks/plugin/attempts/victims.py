"""Harming or reading other processes: the victim, the neighbour's worker, the host."""

import ctypes
import fcntl
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .native import Answer, call, check, hold, libc, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_PTRACE_PEEKDATA: Final = 2
_PTRACE_POKEDATA: Final = 5
_PTRACE_ATTACH: Final = 16
_PTRACE_DETACH: Final = 17
_PTRACE_SEIZE: Final = 0x4206
_PTRACE_INTERRUPT: Final = 0x4207
_F_SETSIG: Final = 10
_F_SETOWN_EX: Final = 15
_MADV_PAGEOUT: Final = 21


# Signals


def signal_a_process(target: Target) -> Answer:
    pid = target["pid"]
    number = signal.SIGTERM
    info = struct.pack("=iii116x", number, 0, -1)  # siginfo_t with SI_QUEUE

    def by_pidfd() -> None:
        fd = call("pidfd_open", pid, 0)
        try:
            call("pidfd_send_signal", fd, number, None, 0)
        finally:
            os.close(fd)

    return ways(
        kill=lambda: call("kill", pid, number),
        group=lambda: call("kill", -pid, number),
        tkill=lambda: call("tkill", pid, number),
        tgkill=lambda: call("tgkill", pid, pid, number),
        queued=lambda: call("rt_sigqueueinfo", pid, number, info),
        queued_to_thread=lambda: call("rt_tgsigqueueinfo", pid, pid, number, info),
        pidfd=by_pidfd,
    )


kill_victim = kill_neighbour = signal_a_process


def signal_by_descriptor_owner(target: Target) -> Answer:
    """The kernel sends a signal of one's choice to a descriptor's owner, whoever one says it is."""
    pid = target["pid"]

    def own(set_owner: Callable[[int], object]) -> str:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            set_owner(theirs.fileno())
            fcntl.fcntl(theirs, _F_SETSIG, signal.SIGKILL)
            flags = fcntl.fcntl(theirs, fcntl.F_GETFL)
            fcntl.fcntl(theirs, fcntl.F_SETFL, flags | os.O_ASYNC)
            ours.send(b"x")
        return "sent"

    return ways(
        setown=lambda: own(lambda fd: fcntl.fcntl(fd, fcntl.F_SETOWN, pid)),
        setown_ex=lambda: own(lambda fd: fcntl.fcntl(fd, _F_SETOWN_EX, struct.pack("=ii", 1, pid))),
        group=lambda: own(lambda fd: fcntl.fcntl(fd, fcntl.F_SETOWN, -pid)),
        fiosetown=lambda: own(lambda fd: fcntl.ioctl(fd, 0x8901, struct.pack("=i", pid))),
    )


# Memory and descriptors


def _ptrace(request: int, pid: int, address: int, data: int) -> int:
    return call("ptrace", request, pid, address, data)


def _traced(pid: int, act: Callable[[], str]) -> str:
    try:
        _ptrace(_PTRACE_SEIZE, pid, 0, 0)
        _ptrace(_PTRACE_INTERRUPT, pid, 0, 0)
    except OSError:
        _ptrace(_PTRACE_ATTACH, pid, 0, 0)
    try:
        os.waitpid(pid, 0x40000000)  # __WALL
        return act()
    finally:
        _ptrace(_PTRACE_DETACH, pid, 0, 0)


def trace_victim(target: Target) -> Answer:
    pid, address = target["pid"], target["address"]

    def peek() -> str:
        found = b""
        for offset in range(0, target["size"], 8):
            word = ctypes.c_uint64()
            call("ptrace", _PTRACE_PEEKDATA, pid, address + offset, ctypes.byref(word))
            found += struct.pack("=Q", word.value)
        return found.decode(errors="replace")

    return one_way(lambda: _traced(pid, peek))


def trace_and_change_victim(target: Target) -> Answer:
    pid = target["pid"]
    word = int.from_bytes(b"attacked", "little")
    return one_way(
        lambda: _traced(pid, lambda: str(_ptrace(_PTRACE_POKEDATA, pid, target["address"], word)))
    )


def _by_system_call(name: str, target: Target, data: ctypes.Array[ctypes.c_char]) -> bytes:
    local = (ctypes.c_uint64 * 2)(ctypes.addressof(data), len(data))
    remote = (ctypes.c_uint64 * 2)(target["address"], len(data))
    call(name, target["pid"], local, 1, remote, 1, 0)
    return data.raw


def _through_proc(target: Target, flags: int, act: Callable[[int], str]) -> str:
    fd = os.open(f"/proc/{target['pid']}/mem", flags)
    try:
        return act(fd)
    finally:
        os.close(fd)


def _read_memory(target: Target) -> Answer:
    size, address = target["size"], target["address"]

    def by_call() -> str:
        data = ctypes.create_string_buffer(size)
        return _by_system_call("process_vm_readv", target, data).decode(errors="replace")

    def by_proc() -> str:
        return _through_proc(
            target,
            os.O_RDONLY,
            lambda fd: os.pread(fd, size, address).decode(errors="replace"),
        )

    return ways(process_vm=by_call, proc=by_proc)


read_victim_memory = read_neighbour_memory = read_host_memory = _read_memory


def write_victim_memory(target: Target) -> Answer:
    data = b"attacked"
    return ways(
        process_vm=lambda: _by_system_call(
            "process_vm_writev", target, ctypes.create_string_buffer(data, len(data))
        ),
        proc=lambda: _through_proc(
            target, os.O_RDWR, lambda fd: str(os.pwrite(fd, data, target["address"]))
        ),
    )


def steal_descriptor(target: Target) -> Answer:
    """A file that the victim holds open, and that no path leads to any more."""
    pid, fd = target["pid"], target["fd"]

    def by_pidfd() -> str:
        process = call("pidfd_open", pid, 0)
        try:
            stolen = call("pidfd_getfd", process, fd, 0)
            try:
                return os.pread(stolen, 4096, 0).decode(errors="replace")
            finally:
                os.close(stolen)
        finally:
            os.close(process)

    return ways(pidfd=by_pidfd, proc=lambda: Path(f"/proc/{pid}/fd/{fd}").read_text())


def page_out_victim(target: Target) -> Answer:
    """process_madvise: throws another process's pages out of memory, again and again."""

    def advise() -> str:
        process = call("pidfd_open", target["pid"], 0)
        try:
            page = (ctypes.c_uint64 * 2)(target["address"] & ~4095, 4096)
            return f"advised {call('process_madvise', process, page, 1, _MADV_PAGEOUT, 0)}"
        finally:
            os.close(process)

    return one_way(advise)


def compare_with_victim(target: Target) -> Answer:
    """kcmp: an order of kernel addresses, across processes."""
    return one_way(lambda: f"order {call('kcmp', os.getpid(), target['pid'], 1, 0, 0)}")


def find_victim_pages(target: Target) -> Answer:
    """move_pages: which of another process's pages are in memory, and on which node."""

    def query() -> str:
        pages = (ctypes.c_uint64 * 1)(target["address"] & ~4095)
        status = (ctypes.c_int * 1)(-1)
        call("move_pages", target["pid"], 1, pages, None, status, 0)
        return f"node {status[0]}"

    return one_way(query)


# What /proc tells


def read_victim_environment(target: Target) -> Answer:
    pid = target["pid"]
    return ways(
        environment=lambda: Path(f"/proc/{pid}/environ").read_text(),
        task=lambda: Path(f"/proc/{pid}/task/{pid}/environ").read_text(),
    )


def read_host_process(target: Target) -> Answer:
    pid = target["pid"]
    return ways(
        **{
            name: lambda name=name: Path(f"/proc/{pid}/{name}").read_bytes().hex()
            for name in ("cmdline", "environ", "maps")
        }
    )


read_neighbour_process = read_host_process


def list_processes(_: Target) -> Answer:
    def commands() -> str:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                except (FileNotFoundError, ProcessLookupError):  # it has ended
                    continue
                found.append(f"{entry.name} {command.decode(errors='replace')}")
        return "\n".join(found)

    return one_way(commands)


# Limits and priorities


def set_victim_limit(target: Target) -> Answer:
    pid = target["pid"]
    limits = (ctypes.c_uint64 * 2)(target["limit"], target["limit"])
    core = resource.RLIMIT_CORE
    return ways(
        prlimit=lambda: call("prlimit64", pid, core, limits, None),
        python=lambda: resource.prlimit(pid, core, (target["limit"], target["limit"])),
    )


set_neighbour_limit = set_victim_limit


def read_host_limits(target: Target) -> Answer:
    def read() -> str:
        limits = (ctypes.c_uint64 * 2)()
        call("prlimit64", target["pid"], resource.RLIMIT_STACK, None, limits)
        return f"the host's stack may have {limits[0]} to {limits[1]}"

    return one_way(read)


def _slow(target: Target) -> Answer:
    pid = target["pid"]
    return ways(
        setpriority=lambda: call("setpriority", os.PRIO_PROCESS, pid, target["nice"]),
        python=lambda: os.setpriority(os.PRIO_PROCESS, pid, target["nice"]),
    )


slow_down_victim = slow_down_neighbour = _slow


def pin_victim(target: Target) -> Answer:
    pid = target["pid"]
    mask = (ctypes.c_uint64 * 16)(1 << target["core"])
    return ways(
        call=lambda: call("sched_setaffinity", pid, ctypes.sizeof(mask), mask),
        python=lambda: os.sched_setaffinity(pid, {target["core"]}),
    )


pin_neighbour = pin_victim


def reschedule_victim(target: Target) -> Answer:
    pid = target["pid"]
    idle = (ctypes.c_uint32 * 12)(48, os.SCHED_IDLE)  # struct sched_attr
    return ways(
        scheduler=lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0)),
        attributes=lambda: call("sched_setattr", pid, idle, 0),
    )


def starve_victim_of_disk(target: Target) -> Answer:
    idle = 3 << 13  # IOPRIO_CLASS_IDLE
    return one_way(lambda: call("ioprio_set", 1, target["pid"], idle))


def make_victim_the_first_to_be_killed(target: Target) -> Answer:
    path = Path(f"/proc/{target['pid']}/oom_score_adj")
    return one_way(lambda: path.write_text("1000"))


# The terminal


def _terminal(target: Target) -> int:
    """The slave end; a session leader without a terminal gets it as its controlling one."""
    fd = os.open(target["path"], os.O_RDWR)
    hold(lambda: os.close(fd))
    return fd


def type_into_the_terminal(target: Target) -> Answer:
    def typed(fd: int) -> str:
        for byte in target["word"].encode() + b"\n":
            check("TIOCSTI", libc.ioctl(fd, 0x5412, ctypes.byref(ctypes.c_char(byte))))
        return "typed"

    def inherited() -> str:
        for fd in range(3):
            try:
                return typed(fd)
            except OSError as exc:
                error = exc
        raise error

    return ways(
        opened=lambda: typed(_terminal(target)),
        controlling=lambda: typed(os.open("/dev/tty", os.O_RDWR)),
        inherited=inherited,
    )


def write_to_the_terminal(target: Target) -> Answer:
    return one_way(lambda: os.write(_terminal(target), target["word"].encode()))


def read_from_the_terminal(target: Target) -> Answer:
    def read() -> str:
        fd = _terminal(target)
        if not select.select([fd], [], [], 1.0)[0]:
            raise TimeoutError
        return os.read(fd, 4096).decode()

    return one_way(read)


def open_a_new_terminal(_: Target) -> Answer:
    def opened() -> str:
        fd = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
        hold(lambda: os.close(fd))
        return "a new terminal"

    return one_way(opened)
