"""Parts of the kernel that plugins have no use for, and attackers have."""

import ctypes
import mmap
import os
import platform
import signal
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from .native import Answer, NotHere, call, check, exit_status, hold, libc, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_NEWNS: Final = 0x20000
_NEWCGROUP: Final = 0x2000000
_NEWUTS: Final = 0x4000000
_NEWIPC: Final = 0x8000000
_NEWUSER: Final = 0x10000000
_NEWPID: Final = 0x20000000
_NEWNET: Final = 0x40000000
_AT_FDCWD: Final = -100


def _unshared(flags: int) -> Callable[[], str]:
    return lambda: f"unshared {call('unshare', flags):#x}, flags {flags:#x}"


def make_a_user_namespace(_: Target) -> Answer:
    def child(pid: int) -> str:
        if pid == 0:
            os._exit(0)
        return f"child {pid} in a namespace of its own exited with {exit_status(pid)}"

    def clone3() -> str:
        arguments = (ctypes.c_uint64 * 8)(_NEWUSER, 0, 0, 0, signal.SIGCHLD)
        return child(call("clone3", arguments, ctypes.sizeof(arguments)))

    return ways(
        clone=lambda: child(call("clone", _NEWUSER | int(signal.SIGCHLD), 0, 0, 0, 0)),
        clone3=clone3,
        unshare=_unshared(_NEWUSER),
    )


def make_other_namespaces(_: Target) -> Answer:
    """With a user namespace of its own on the way, where that helps."""
    flags = {
        "mount": _NEWNS, "net": _NEWNET, "ipc": _NEWIPC, "uts": _NEWUTS,
        "pid": _NEWPID, "cgroup": _NEWCGROUP,
    }  # fmt: skip
    return ways(
        with_user=_unshared(_NEWUSER | _NEWNS | _NEWNET),
        **{name: _unshared(flag) for name, flag in flags.items()},
    )


def _with_mounts(act: Callable[[], object]) -> Callable[[], object]:
    """Where it may not mount: once more in namespaces of its own."""

    def attempt() -> object:
        try:
            return act()
        except PermissionError:
            call("unshare", _NEWUSER | _NEWNS)
            return act()

    return attempt


def mount_a_file_system(target: Target) -> Answer:
    folder, name = target["path"].encode(), target["word"].encode()
    places = {"given": folder, "temporary": b"/tmp", "root": b"/"}
    return ways(
        **{
            place: _with_mounts(partial(call, "mount", name, path, b"tmpfs", 0, None))
            for place, path in places.items()
        },
        remount=lambda: call("mount", None, b"/", None, 0x1020, None),  # MS_REMOUNT | MS_BIND
        unmount=lambda: call("umount2", b"/tmp", 2),  # MNT_DETACH
    )


def mount_by_descriptors(_: Target) -> Answer:
    """The newer calls, which need no path."""

    def mount() -> str:
        context = call("fsopen", b"tmpfs", 0)
        hold(lambda: os.close(context))
        call("fsconfig", context, 6, None, None, 0)  # FSCONFIG_CMD_CREATE
        tree = call("fsmount", context, 0, 0)
        hold(lambda: os.close(tree))
        return "a file system without a path"

    def clone_tree() -> str:
        tree = call("open_tree", _AT_FDCWD, b"/", 1)  # OPEN_TREE_CLONE
        hold(lambda: os.close(tree))
        return "a copy of the root"

    return ways(fsopen=_with_mounts(mount), open_tree=_with_mounts(clone_tree))


def change_root(target: Target) -> Answer:
    folder = target["path"].encode()

    def chroot() -> str:
        try:
            call("chroot", folder)
        except PermissionError:
            call("unshare", _NEWUSER)
            call("chroot", folder)
        return "changed its root"

    return ways(chroot=chroot)


def enter_host_namespaces(target: Target) -> Answer:
    pid = target["pid"]

    def enter(kind: str) -> str:
        fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        try:
            call("setns", fd, 0)
        finally:
            os.close(fd)
        return f"entered {kind}"

    def by_pidfd() -> str:
        fd = call("pidfd_open", pid, 0)
        try:
            call("setns", fd, _NEWNS | _NEWNET)
        finally:
            os.close(fd)
        return "entered"

    names = ("user", "mnt", "net", "ipc", "uts", "pid")
    tries = {name: lambda name=name: enter(name) for name in names}
    return ways(pidfd=by_pidfd, **tries)


def _held(name: str, *arguments: Any) -> Callable[[], str]:
    """A system call that gives a descriptor."""

    def attempt() -> str:
        fd = call(name, *arguments)
        hold(lambda: os.close(fd))
        return f"{name} gave descriptor {fd}"

    return attempt


def load_a_kernel_program(_: Target) -> Answer:
    array = struct.pack("=5I", 2, 4, 4, 1, 0)  # BPF_MAP_TYPE_ARRAY of one word
    no_op = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    text = ctypes.create_string_buffer(no_op)
    name = ctypes.create_string_buffer(b"GPL")
    program = struct.pack(
        "=IIQQ32x", 1, 2, ctypes.addressof(text), ctypes.addressof(name)
    )  # BPF_PROG_TYPE_SOCKET_FILTER
    return ways(
        map=_held("bpf", 0, array, len(array)), program=_held("bpf", 5, program, len(program))
    )


def count_kernel_events(_: Target) -> Answer:
    def attributes(kind: int, config: int, flags: int) -> bytes:
        return struct.pack("=IIQQQQQ", kind, 112, config, 0, 0, 0, flags).ljust(112, b"\0")

    user_only = 1 << 5 | 1 << 6  # exclude_kernel, exclude_hv
    return ways(
        clock=_held("perf_event_open", attributes(1, 0, user_only), 0, -1, -1, 0),
        cycles=_held("perf_event_open", attributes(0, 0, user_only), 0, -1, -1, 0),
        machine=_held("perf_event_open", attributes(1, 0, 0), -1, 0, -1, 0),
    )


def handle_page_faults(_: Target) -> Answer:
    """userfaultfd: stops the kernel in the middle of what it does, for as long as one likes."""

    def by_device() -> str:
        device = os.open("/dev/userfaultfd", os.O_RDWR)
        try:
            made = check("ioctl", libc.ioctl(device, 0xAA00, 0))  # USERFAULTFD_IOC_NEW
        finally:
            os.close(device)
        hold(lambda: os.close(made))
        return "the device made one"

    return ways(user_mode=_held("userfaultfd", 1), full=_held("userfaultfd", 0), device=by_device)


def use_io_uring(_: Target) -> Answer:
    """A second way to make system calls, which no filter sees."""
    parameters = (ctypes.c_uint8 * 120)()
    return one_way(_held("io_uring_setup", 4, parameters))


def make_secret_memory(_: Target) -> Answer:
    """Memory that neither the kernel nor the host can look at."""
    return one_way(_held("memfd_secret", 0))


def make_memory_file(_: Target) -> Answer:
    return one_way(_held("memfd_create", b"attack", 0))


def change_personality(_: Target) -> Answer:
    flags = 0x0400000 | 0x0040000  # READ_IMPLIES_EXEC, ADDR_NO_RANDOMIZE
    return one_way(lambda: f"was {call('personality', flags):#x}")


def change_local_descriptors(_: Target) -> Answer:
    """modify_ldt: 16-bit segments, the ground of many kernel bugs."""
    entry = struct.pack("=IIII", 0, 0, 0xFFFFF, 0b1010001)
    return one_way(lambda: call("modify_ldt", 1, entry, len(entry)))


def open_file_by_handle(target: Target) -> Answer:
    """A file by its number, past all folders above it."""
    path = target["path"].encode()
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount_id = ctypes.c_int()

    def name() -> str:
        call("name_to_handle_at", _AT_FDCWD, path, handle, ctypes.byref(mount_id), 0)
        return "a handle"

    def given() -> str:
        wanted = bytes.fromhex(target["handle"])
        made = ctypes.create_string_buffer(wanted, len(wanted))
        for folder in ("/", "/tmp", target["data"]):  # noqa: S108
            where = os.open(folder, os.O_RDONLY)
            try:
                fd = call("open_by_handle_at", where, made, os.O_RDONLY)
            except OSError as exc:
                error = exc
                continue
            finally:
                os.close(where)
            with os.fdopen(fd) as file:
                return file.read()
        raise error

    return ways(name=name, given=given)


_PAGE: Final = mmap.PAGESIZE
_READ_RUN: Final = mmap.PROT_READ | mmap.PROT_EXEC


def run_code(code: bytes) -> int:
    """Machine code, on a page that is written first and run then."""
    if platform.machine() != "x86_64":
        raise NotHere("the code is for x86_64")
    page = mmap.mmap(-1, _PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    check("mprotect", libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(_PAGE), _READ_RUN))
    return int(ctypes.CFUNCTYPE(ctypes.c_long)(address)())


def call_by_32_bit_numbers(_: Target) -> Answer:
    """int 0x80: other numbers for the same calls, which a careless filter takes for its own."""

    def getpid() -> str:
        # mov eax, 20 (getpid of i386); int 0x80; ret
        pid = ctypes.c_int(run_code(bytes.fromhex("b814000000cd80c3"))).value
        if pid < 0:
            raise OSError(-pid, "int 0x80")
        return f"pid={pid} of {os.getpid()}"

    return one_way(getpid)


def call_by_x32_numbers(_: Target) -> Answer:
    def getpid() -> str:
        result = libc.syscall(ctypes.c_long(0x40000000 | 39))
        if result == -1:
            raise OSError(ctypes.get_errno(), "x32")
        return f"pid={result} of {os.getpid()}"

    if platform.machine() != "x86_64":
        raise NotHere("x32 is x86_64's")
    return one_way(getpid)


# Keys


def _session_key(target: Target) -> int:
    return call("add_key", b"user", target["word"].encode(), b"attacked", 8, -4)


def add_a_key(target: Target) -> Answer:
    """To the user's own keyring, which all processes of the user have."""

    def add() -> str:
        return f"key={_session_key(target)}"

    return ways(
        add=add,
        request=lambda: f"key={call('request_key', b'user', b'plughost-none', b'x', -4)}",
        join=lambda: f"keyring={call('keyctl', 1, b'attacked')}",
    )


def read_host_key(target: Target) -> Answer:
    def read(key: int) -> str:
        text = ctypes.create_string_buffer(4096)
        size = call("keyctl", 11, key, text, 4096)  # KEYCTL_READ
        return text.raw[:size].decode(errors="replace")

    def search() -> str:
        return read(call("keyctl", 10, -4, b"user", target["name"].encode(), 0))

    return ways(number=lambda: read(target["key"]), search=search)


# What the kernel tells


def read_kernel_log(_: Target) -> Answer:
    def by_call() -> str:
        text = ctypes.create_string_buffer(4096)
        size = call("syslog", 3, text, 4096)  # SYSLOG_ACTION_READ_ALL
        return f"log={text.raw[:size].decode(errors='replace')[:200]!r}"

    def by_device() -> str:
        fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        try:
            return f"log={os.read(fd, 8192).decode(errors='replace')[:200]!r}"
        finally:
            os.close(fd)

    return ways(syslog=by_call, device=by_device)


def read_kernel_addresses(_: Target) -> Answer:
    def read() -> str:
        with Path("/proc/kallsyms").open() as file:
            line = file.readline()
        if int(line.split()[0], 16) == 0:
            raise PermissionError(1, "hidden")
        return f"address={line.strip()}"

    return one_way(read)
