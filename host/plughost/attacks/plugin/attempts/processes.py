"""New processes, other programs, and life after the worker."""

import ctypes
import mmap
import os
import signal
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from .native import Answer, NotHere, call, check, exit_status, libc, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2
_PR_SET_NAME: Final = 15
_AT_EMPTY_PATH: Final = 0x1000
_EXIT_42: Final = 42


def tiny_program(code: bytes) -> bytes:
    """A static ELF program for x86_64 with this machine code, and no need of a loader."""
    if os.uname().machine != "x86_64":
        raise NotHere("the program is for x86_64")
    base, start = 0x400000, 64 + 56
    size = start + len(code)
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + start, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 4096)
    return header + segment + code


# mov edi, 42; mov eax, 231 (exit_group); syscall
EXIT_WITH_42: Final = bytes.fromhex("bf2a000000b8e70000000f05")


def _in_child(run: Callable[[], object]) -> str:
    """Run it in a fork. Returns only if the child exits with 42, as the programs here do."""
    child = os.fork()
    if child == 0:
        try:
            run()
        except OSError as exc:
            os._exit(exc.errno if exc.errno and exc.errno != _EXIT_42 else 255)
        finally:
            os._exit(254)
    status = exit_status(child)
    if status == _EXIT_42:
        return "it ran and exited with 42"
    raise OSError(max(status, 0), "exec")


def _executed(run: Callable[[], object], name: str) -> dict[str, Callable[[], object]]:
    """In a child process; and where there is none, in place of the worker."""

    def in_place() -> object:
        try:
            child = os.fork()
        except OSError:
            return run()  # on success nothing returns: the host sees the worker exit with 42
        if child == 0:
            os._exit(0)
        exit_status(child)
        raise ProcessLookupError(0, "tried in a child")

    return {name: lambda: _in_child(run), f"{name}_in_place": in_place}


def run_a_shell(_: Target) -> Answer:
    command = ["sh", "-c", "exit 42"]
    paths = ("/bin/sh", "/usr/bin/sh", "/bin/busybox")
    found: dict[str, Callable[[], object]] = {}
    for path in paths:
        found |= _executed(partial(os.execv, path, command), path.replace("/", "_"))

    def spawned() -> str:
        status = exit_status(os.posix_spawn("/bin/sh", command, {}))
        if status != _EXIT_42:
            raise OSError(max(status, 0), "posix_spawn")
        return "spawned"

    return ways(spawned=spawned, **found)


def run_python(_: Target) -> Answer:
    """A fresh interpreter, which holds nothing back that this one may have been taught."""
    import sys

    program = sys.executable or "/usr/bin/python3"
    command = [program, "-I", "-S", "-c", "raise SystemExit(42)"]
    return ways(**_executed(lambda: os.execv(program, command), "python"))  # noqa: S606


def run_from_memory(_: Target) -> Answer:
    program = tiny_program(EXIT_WITH_42)

    def by_descriptor() -> None:
        fd = call("memfd_create", b"attack", 0)
        os.write(fd, program)
        argv = (ctypes.c_char_p * 2)(b"attack", None)
        call("execveat", fd, b"", argv, None, _AT_EMPTY_PATH)

    def by_path() -> None:
        fd = call("memfd_create", b"attack", 0)
        os.write(fd, program)
        os.execv(f"/proc/self/fd/{fd}", ["attack"])  # noqa: S606

    return ways(**_executed(by_descriptor, "execveat"), **_executed(by_path, "proc"))


def _run_file(folder: str) -> Answer:
    path = Path(folder, "program")

    def execute() -> None:
        os.execv(path, ["program"])  # noqa: S606

    def execute_by_descriptor() -> None:
        fd = os.open(path, os.O_RDONLY)
        argv = (ctypes.c_char_p * 2)(b"attack", None)
        call("execveat", fd, b"", argv, None, _AT_EMPTY_PATH)

    def prepared(run: Callable[[], object]) -> Callable[[], object]:
        def write_and_run() -> object:
            path.write_bytes(tiny_program(EXIT_WITH_42))
            with suppress(OSError):
                path.chmod(0o755)
            return run()

        return write_and_run

    tries = {**_executed(execute, "execve"), **_executed(execute_by_descriptor, "execveat")}
    return ways(**{name: prepared(run) for name, run in tries.items()})


def run_a_written_file(target: Target) -> Answer:
    return _run_file(target["data"])


def run_a_file_in_granted_folder(target: Target) -> Answer:
    return _run_file(target["granted"])


def run_a_file_in_temporary_folder(_: Target) -> Answer:
    return _run_file("/tmp")  # noqa: S108


def run_a_set_user_id_program(target: Target) -> Answer:
    """It exits with 42 if it runs as root."""
    path = target["path"]
    return ways(**_executed(lambda: os.execv(path, ["program"]), "program"))  # noqa: S606


def map_a_written_file_as_code(target: Target) -> Answer:
    """A library that it has written itself, as `dlopen` would load it."""

    def map_it() -> str:
        path = Path(target["data"], "library")
        path.write_bytes(bytes.fromhex("b82a000000c3").ljust(4096, b"\0"))  # return 42
        fd = os.open(path, os.O_RDONLY)
        try:
            libc.mmap.restype = ctypes.c_void_p
            libc.mmap.argtypes = [
                ctypes.c_void_p,
                ctypes.c_size_t,
                *[ctypes.c_int] * 3,
                ctypes.c_long,
            ]
            address = libc.mmap(
                None, 4096, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, fd, 0
            )
        finally:
            os.close(fd)
        if address is None or address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        return f"the code gave {ctypes.CFUNCTYPE(ctypes.c_int)(address)()}"

    if os.uname().machine != "x86_64":
        raise NotHere("the code is for x86_64")
    return one_way(map_it)


def make_a_process(_: Target) -> Answer:
    def child(pid: int) -> str:
        if pid == 0:
            os._exit(_EXIT_42)
        return f"child {pid} exited with {exit_status(pid)}"

    def clone3() -> str:
        arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, signal.SIGCHLD)
        return child(call("clone3", arguments, ctypes.sizeof(arguments)))

    return ways(
        fork=lambda: child(os.fork()),
        raw_fork=lambda: child(call("fork")),
        clone=lambda: child(call("clone", int(signal.SIGCHLD), 0, 0, 0, 0)),
        clone_parent=lambda: child_of_parent(),
        clone3=clone3,
    )


def child_of_parent() -> str:
    """CLONE_PARENT: a sibling of the worker's, not its child."""
    pid = call("clone", 0x8000 | int(signal.SIGCHLD), 0, 0, 0, 0)
    if pid == 0:
        os._exit(_EXIT_42)
    return f"a sibling, {pid}"


def _daemon(name: str, deaf: Callable[[], object]) -> int:
    """Forked twice into a session of its own, under a name that the host looks for."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(OSError):
            os.setsid()
            if os.fork():
                os._exit(0)
            deaf()
            libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
            os.write(writing, str(os.getpid()).encode())
            os.closerange(0, 256)
            end = time.monotonic() + 30.0  # not for ever, should nobody stop it
            while time.monotonic() < end:
                time.sleep(1.0)
        os._exit(0)
    os.close(writing)
    exit_status(child)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    if not told:
        raise PermissionError(1, "fork")
    return int(told)


def leave_a_daemon(target: Target) -> Answer:
    def deaf() -> None:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            with suppress(OSError, ValueError):
                signal.signal(number, signal.SIG_IGN)
        libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)

    return one_way(lambda: f"daemon {_daemon(target['word'], deaf)}")


def outlive_the_host(_: Target) -> Answer:
    """The signal that comes when its parent dies, taken away."""

    def clear() -> str:
        check("prctl", libc.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0))
        left = ctypes.c_int(-1)
        check("prctl", libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(left), 0, 0, 0))
        return f"signal {left.value} comes at the parent's death"

    return one_way(clear)
