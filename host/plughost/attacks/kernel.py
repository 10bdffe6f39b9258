"""Attacks on the kernel and on the whole machine."""

import ctypes
import errno
import os
import platform
import secrets
from typing import Any, Final

from .attack import Aim, Attempt, Control, Ends, Group, Need, NotPossible, Proof, Section
from .ipc import find_ipc, ipc_key, remove_ipc
from .proofs import claims, holds, shows, status_of
from .range import Range

__all__ = ["KERNEL"]

KERNEL: Final = Section(Group.KERNEL)

_BARE_ROOT: Final[dict[str, Any]] = {"control": Control.BARE, "needs": (Need.ROOT,)}


@KERNEL.attack("makes a user namespace, in which it has all capabilities", "seccomp", spoils=True)
def make_a_user_namespace(_: Range) -> Aim:
    return Aim({}, claims("namespace of its own|unshared"))


@KERNEL.attack(
    "makes mount, network and other namespaces", "seccomp", control=Control.BARE, spoils=True
)
def make_other_namespaces(_: Range) -> Aim:
    return Aim({}, claims("unshared"))


@KERNEL.attack("mounts a file system", "seccomp", control=Control.BARE, spoils=True)
def mount_a_file_system(at: Range) -> Aim:
    word = f"plughost-{secrets.token_hex(6)}"
    mounts = status_of("mountinfo")

    def proof(attempt: Attempt) -> str:
        found = mounts(attempt.pid)
        return f"it has mounted {word}" if word in found else ""

    return Aim({"path": str(at.new_folder()), "word": word}, proof)


@KERNEL.attack(
    "mounts by the newer calls, without a path", "seccomp", control=Control.BARE, spoils=True
)
def mount_by_descriptors(_: Range) -> Aim:
    return Aim({}, claims("a file system without|a copy of the root"))


@KERNEL.attack("changes its root folder", "seccomp", control=Control.BARE, spoils=True)
def change_root(at: Range) -> Aim:
    return Aim({"path": str(at.new_folder())}, claims("changed its root"))


@KERNEL.attack(
    "enters the host's namespaces", "capabilities mounts landlock seccomp",
    spoils=True, **_BARE_ROOT,
)  # fmt: skip
def enter_host_namespaces(_: Range) -> Aim:
    return Aim({"pid": os.getpid()}, claims("entered"))


@KERNEL.attack("loads a program into the kernel (bpf)", "capabilities seccomp", **_BARE_ROOT)
def load_a_kernel_program(_: Range) -> Aim:
    return Aim({}, holds("bpf"))


@KERNEL.attack("counts the kernel's events (perf_event_open)", "seccomp")
def count_kernel_events(_: Range) -> Aim:
    return Aim({}, holds("perf_event"))


@KERNEL.attack("stops the kernel at a page fault (userfaultfd)", "seccomp")
def handle_page_faults(_: Range) -> Aim:
    return Aim({}, holds("userfaultfd"))


@KERNEL.attack(
    "makes system calls by io_uring, past a filter", "limits seccomp", control=Control.BARE
)
def use_io_uring(_: Range) -> Aim:
    return Aim({}, holds("io_uring"))


@KERNEL.attack("makes memory that nobody else can look at (memfd_secret)", "seccomp")
def make_secret_memory(_: Range) -> Aim:
    return Aim({}, holds("secretmem"))


@KERNEL.attack("makes a file in memory, which can be run (memfd_create)", "seccomp")
def make_memory_file(_: Range) -> Aim:
    return Aim({}, holds("memfd:attack"))


@KERNEL.attack(
    "has its memory laid out predictably and all of it executable", "seccomp", spoils=True
)
def change_personality(_: Range) -> Aim:
    flags = status_of("personality")

    def proof(attempt: Attempt) -> str:
        now = flags(attempt.pid).strip()
        if now:
            return f"its personality is {now}" if int(now, 16) & 0x440000 else ""
        return claims("was")(attempt)

    return Aim({}, proof)


@KERNEL.attack("sets up 16-bit segments (modify_ldt)", "seccomp")
def change_local_descriptors(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack(
    "opens a file by its number, past all folders", "capabilities seccomp",
    control=Control.BARE, needs=(Need.ROOT,),
)  # fmt: skip
def open_file_by_handle(at: Range) -> Aim:
    path, secret = at.secret_file(0o644)
    handle = ctypes.create_string_buffer(136)
    ctypes.c_uint32.from_buffer(handle).value = 128
    mount = ctypes.c_int()
    libc = ctypes.CDLL(None, use_errno=True)
    at_fdcwd = -100
    if libc.name_to_handle_at(at_fdcwd, os.fsencode(path), handle, ctypes.byref(mount), 0) != 0:
        why = errno.errorcode[ctypes.get_errno()]
        raise NotPossible(f"the file system numbers no files: {why}")
    size = 8 + ctypes.c_uint32.from_buffer(handle).value
    return Aim({"path": str(path), "handle": handle.raw[:size].hex()}, shows(secret))


def _x86_64() -> None:
    if platform.machine() != "x86_64":
        raise NotPossible("only x86_64 has other numbers for the same calls")


@KERNEL.attack("calls by the 32-bit numbers (int 0x80)", "seccomp", ends=Ends.KILLED)
def call_by_32_bit_numbers(_: Range) -> Aim:
    _x86_64()
    return Aim({}, claims("pid="))


@KERNEL.attack("calls by the x32 numbers", "seccomp", ends=Ends.KILLED)
def call_by_x32_numbers(_: Range) -> Aim:
    _x86_64()
    return Aim({}, claims("pid="))


# Keys


@KERNEL.attack("adds a key to the user's keyring", "seccomp")
def add_a_key(_: Range) -> Aim:
    return Aim({"word": f"plughost-{secrets.token_hex(6)}"}, claims("key"))


@KERNEL.attack("reads a key of the operator's from the kernel's keyrings", "uid seccomp")
def read_host_key(at: Range) -> Aim:
    name, secret = f"plughost-{secrets.token_hex(6)}", secrets.token_hex(16)
    key, unlink = _add_key(name, secret)
    at.later(unlink)
    return Aim({"name": name, "key": key}, shows(secret, "the key"))


def _add_key(name: str, secret: str) -> tuple[int, Any]:
    """A key in this user's own keyring, and how to take it out again."""
    if platform.machine() != "x86_64":
        raise NotPossible("the numbers of the calls are x86_64's")
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    keyring = -4  # KEY_SPEC_USER_KEYRING
    key = syscall(248, b"user", name.encode(), secret.encode(), len(secret), keyring)
    if key < 0:
        raise NotPossible(f"no keys here: {errno.errorcode[ctypes.get_errno()]}")
    permissions = 0x3F3F0000  # to possessor and user: all
    syscall(250, 5, key, permissions)  # KEYCTL_SETPERM
    return key, lambda: syscall(250, 9, key, keyring)  # KEYCTL_UNLINK


# Who it is


@KERNEL.attack("becomes root", "uid capabilities namespaces seccomp", spoils=True, **_BARE_ROOT)
def become_root(_: Range) -> Aim:
    status = status_of("status")

    def proof(attempt: Attempt) -> str:
        lines = dict(
            line.split(":\t", 1) for line in status(attempt.pid).splitlines() if ":\t" in line
        )
        effective = int(lines.get("CapEff", "0"), 16)
        return f"it has the capabilities {effective:x}" if attempt.answer.got and effective else ""

    return Aim({}, proof)


@KERNEL.attack("uses capabilities", "capabilities", **_BARE_ROOT)
def use_capabilities(_: Range) -> Aim:
    return Aim({}, claims("CapEff|effective"))


@KERNEL.attack(
    "raises its own limits", "capabilities seccomp",
    control=Control.BARE, needs=(Need.RAISING_LIMITS,),
)  # fmt: skip
def raise_own_limits(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("takes a real-time priority", "capabilities seccomp", spoils=True, **_BARE_ROOT)
def run_ahead_of_all(_: Range) -> Aim:
    return Aim({}, claims())


# The machine


@KERNEL.attack("restarts the machine", "capabilities seccomp", **_BARE_ROOT)
def restart_the_machine(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("loads a kernel module", "capabilities seccomp", **_BARE_ROOT)
def load_a_kernel_module(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("loads another kernel", "capabilities seccomp", **_BARE_ROOT)
def load_another_kernel(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("adds swap space", "capabilities seccomp", **_BARE_ROOT)
def add_swap_space(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("sets the clock", "capabilities seccomp", **_BARE_ROOT)
def set_the_clock(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("sets the host name", "capabilities seccomp", **_BARE_ROOT)
def set_the_host_name(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("switches process accounting", "capabilities seccomp", **_BARE_ROOT)
def switch_accounting(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack("talks to devices by their ports", "capabilities seccomp", **_BARE_ROOT)
def use_ports(_: Range) -> Aim:
    return Aim({}, claims())


@KERNEL.attack(
    "opens the kernel's memory and control devices", "mounts landlock", needs=(Need.ROOT,)
)
def open_kernel_memory(_: Range) -> Aim:
    return Aim({}, claims("is open"))


@KERNEL.attack("reads the kernel's log", "capabilities seccomp", **_BARE_ROOT)
def read_kernel_log(_: Range) -> Aim:
    return Aim({}, claims("log="))


@KERNEL.attack("reads addresses of the kernel's", "capabilities mounts landlock", **_BARE_ROOT)
def read_kernel_addresses(_: Range) -> Aim:
    return Aim({}, claims("address="))


# Shared memory and queues


_IPC: Final = "namespaces seccomp"


@KERNEL.attack("reads System V shared memory of the operator's", f"uid {_IPC}")
def read_host_shared_memory(at: Range) -> Aim:
    key, secret = ipc_key(), secrets.token_hex(16)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    identifier = libc.shmget(key, 4096, 0o1600)
    if identifier < 0:
        raise NotPossible(f"no shared memory: {errno.errorcode[ctypes.get_errno()]}")
    at.later(libc.shmctl, identifier, 0, None)
    address = libc.shmat(identifier, None, 0)
    ctypes.memmove(address, secret.encode(), len(secret))
    libc.shmdt(ctypes.c_void_p(address))
    return Aim({"key": key, "size": len(secret)}, shows(secret))


@KERNEL.attack("reads a POSIX message queue of the operator's", f"uid {_IPC}")
def read_host_message_queue(at: Range) -> Aim:
    name, secret = f"plughost-{secrets.token_hex(6)}", secrets.token_hex(16)
    library = ctypes.CDLL(None, use_errno=True)
    queue = library.mq_open(f"/{name}".encode(), os.O_RDWR | os.O_CREAT, 0o600, None)
    if queue < 0:
        raise NotPossible(f"no message queues: {errno.errorcode[ctypes.get_errno()]}")
    at.later(library.mq_unlink, f"/{name}".encode())
    library.mq_send(queue, secret.encode(), len(secret), 0)
    os.close(queue)
    return Aim({"name": name}, shows(secret))


def _listed(kind: str, key: int, at: Range) -> Proof:
    """What the kernel lists of the machine's System V objects, which are removed at the end."""
    at.later(remove_ipc, kind, key)

    def proof(_: Attempt) -> str:
        found = find_ipc(kind, key)
        return f"{kind} {found} is left behind" if found is not None else ""

    return proof


@KERNEL.attack("leaves System V shared memory behind", _IPC)
def leave_shared_memory(at: Range) -> Aim:
    key = ipc_key()
    return Aim({"key": key}, _listed("shm", key, at))


@KERNEL.attack("leaves semaphores behind", _IPC)
def leave_semaphores(at: Range) -> Aim:
    key = ipc_key()
    return Aim({"key": key}, _listed("sem", key, at))


@KERNEL.attack("leaves System V messages behind", _IPC)
def leave_messages(at: Range) -> Aim:
    key = ipc_key()
    return Aim({"key": key}, _listed("msg", key, at))


@KERNEL.attack("leaves a POSIX message queue behind", _IPC, control=Control.BARE)
def leave_message_queue(at: Range) -> Aim:
    name = f"plughost-{secrets.token_hex(6)}"
    library = ctypes.CDLL(None, use_errno=True)
    at.later(library.mq_unlink, f"/{name}".encode())

    def proof(_: Attempt) -> str:
        queue = library.mq_open(f"/{name}".encode(), os.O_RDONLY)
        if queue < 0:
            return ""
        os.close(queue)
        return f"the queue {name} is left behind"

    return Aim({"name": name}, proof)
