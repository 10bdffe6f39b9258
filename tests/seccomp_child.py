"""Run as a program: installs a filter in itself, then does one of the tasks below.

The arguments: the task, and JSON with the `program` (hexadecimal), its `slots` and the `numbers`
of the calls. It needs the standard library only, so that any interpreter can run it. Prints JSON.
"""

import asyncio
import ctypes
import decimal
import errno
import faulthandler
import fcntl
import hashlib
import json
import mmap
import os
import secrets
import select
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zoneinfo
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

libc: Any = ctypes.CDLL(None, use_errno=True)
numbers: dict[str, int] = {}


class Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def call(number: int, *arguments: Any) -> int:
    """A system call's result, or its errno, negative."""
    passed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *passed)
    return -ctypes.get_errno() if result == -1 else result


def install(program: bytearray, slots: list[int]) -> None:
    for slot in slots:
        program[slot : slot + 4] = os.getpid().to_bytes(4, sys.byteorder)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    header = Program(len(program) // 8, bytes(program))
    result = call(numbers["seccomp"], 1, 1, ctypes.byref(header))  # filter, on all threads
    assert result == 0, os.strerror(-result)


def ordinary_work() -> str:
    assert json.loads(json.dumps({"a": [1, 2]})) == {"a": [1, 2]}
    assert hashlib.sha256(b"x" * 10_000).digest()
    assert secrets.token_hex()
    assert decimal.Decimal(1) / 3
    assert ssl.create_default_context().check_hostname
    assert zoneinfo.ZoneInfo("Europe/Oslo").key
    assert os.cpu_count()
    assert os.uname()
    time.sleep(0)
    with tempfile.TemporaryDirectory() as name:
        files(Path(name))
    assert asyncio.run(asynchronous()) == "ok"
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(abs, range(-4, 0))) == 10
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda number: number + 1)
    assert callback(1) == 2
    assert libc.getpid() == os.getpid()
    received: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _: received.append(number))
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR1)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert len(received) == 3
    faulthandler.enable()
    faulthandler.dump_traceback_later(60)
    faulthandler.cancel_dump_traceback_later()
    return "ok"


def files(folder: Path) -> None:
    for database in (":memory:", str(folder / "file.db")):
        with sqlite3.connect(database) as connection:
            connection.execute("create table numbers (number)")
            connection.execute("insert into numbers values (1)")
        connection.close()
    source = folder / "source"
    source.mkdir(mode=0o755)
    (source / "text").write_text("text")
    (source / "link").symlink_to("text")
    (source / "text").chmod(0o640)
    shutil.copytree(source, folder / "copy", symlinks=True)
    shutil.copy2(source / "text", source / "again")
    os.link(source / "text", source / "hard")
    os.utime(source / "text", (1, 1))
    os.truncate(source / "again", 1)
    (source / "again").replace(source / "moved")
    with (source / "text").open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        view[0] = 0x54
        os.fsync(file.fileno())
        assert not os.isatty(file.fileno())
    assert sorted(each.name for each in folder.iterdir()) == ["copy", "file.db", "source"]
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    shutil.rmtree(folder / "copy")


async def asynchronous() -> str:
    await asyncio.to_thread(time.sleep, 0)
    await asyncio.wait_for(asyncio.sleep(0), 5)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    theirs.sendall(b"ok\n")
    line = await reader.readline()
    writer.close()
    theirs.close()
    reading, writing = os.pipe()
    assert select.select([], [writing], [], 0)[1]
    os.close(reading)
    os.close(writing)
    return line.strip().decode()


def attempts() -> dict[str, int]:
    """What each call answers that a worker is refused. None does harm where it is not."""
    buffer = ctypes.create_string_buffer(256)
    own, parent, here = os.getpid(), os.getppid(), -100
    with tempfile.TemporaryDirectory() as name:
        path = bytes(Path(name, "file"))
        folder = bytes(Path(name, "folder"))
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        tried: dict[str, tuple[str, *tuple[Any, ...]]] = {
            "trace": ("ptrace", 7, own, 0, 0),
            "read another's memory": ("process_vm_readv", own, 0, 0, 0, 0, 0),
            "new namespaces": ("unshare", 0),
            "mount": ("mount", b"", b"", b"", 0, 0),
            "change the root": ("chroot", b"/does-not-exist"),
            "make a ring": ("io_uring_setup", 0, 0),
            "clone by structure": ("clone3", 0, 0),
            "open by structure": ("openat2", here, path, 0, 0),
            "memory as a file": ("memfd_create", b"x", 0),
            "execute a descriptor": ("execveat", -1, b"", 0, 0, 0),
            "execute": ("execve", b"/does-not-exist", 0, 0),
            "signal another": ("kill", parent, 0),
            "signal its group": ("kill", 0, 0),
            "signal another's thread": ("tgkill", parent, parent, 0),
            "queue a signal": ("rt_sigqueueinfo", own, 0, buffer),
            "descriptor of a process": ("pidfd_open", own, 0),
            "own a descriptor's signals": ("fcntl", descriptor, 8, own),
            "choose its signal": ("fcntl", descriptor, 10, 0),
            "lease a file": ("fcntl", descriptor, 1024, 0),
            "internet socket": ("socket", 2, 1, 0),
            "datagram socket": ("socket", 2, 2, 0),
            "unix socket": ("socket", 1, 1, 0),
            "netlink socket": ("socket", 16, 3, 0),
            "pair of datagrams": ("socketpair", 1, 2, 0, buffer),
            "create set-user-id": ("openat", here, path + b"s", os.O_CREAT, 0o4700),
            "folder with set-group-id": ("mkdirat", here, folder, 0o2700),
            "set-user-id": ("fchmod", descriptor, 0o4700),
            "set-group-id by path": ("fchmodat", here, path, 0o2700),
            "extended attribute": ("fsetxattr", descriptor, b"user.x", b"", 0, 0),
            "own a file": ("fchown", descriptor, -1, -1),
            "make a pipe in a folder": ("mknodat", here, path + b"p", 0o010_600, 0),
            "watch files": ("inotify_init1", 0),
            "priority": ("setpriority", 0, 0, 19),
            "processors": ("sched_setaffinity", 0, 8, b"\xff" * 8),
            "limits": ("prlimit64", 0, 4, struct_of_zeros(), 0),
            "limits of another": ("prlimit64", parent, 7, 0, buffer),
            "personality": ("personality", 0xFFFF_FFFF),
            "live on without the host": ("prctl", 1, 0, 0, 0, 0),
            "keep orphans": ("prctl", 36, 0, 0, 0, 0),
            "type into the terminal": ("ioctl", descriptor, 0x5412, b"x"),
            "shared memory": ("shmget", 0, 4096, 0o1600),
            "message queue": ("mq_unlink", b"does-not-exist"),
            "keys": ("keyctl", 0, -3, 0),
            "session": ("setsid",),
            "user id": ("setresuid", -1, -1, -1),
            "another filter": ("seccomp", 2, 0, buffer),
            "landlock": ("landlock_create_ruleset", 0, 0, 1),
        }
        answers = {name: call(numbers[of], *arguments) for name, (of, *arguments) in tried.items()}
        if shared := answers["shared memory"] >= 0:
            call(numbers["shmctl"], shared, 0, 0)
        os.close(descriptor)
    return answers


def struct_of_zeros() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(16)  # RLIMIT_CORE: none


def start_a_program() -> dict[str, Any]:
    try:
        os.fork()
        forked = None
    except OSError as error:
        forked = errno.errorcode[error.errno or 0]
    try:
        subprocess.run(["/bin/true"], check=True)
        started = None
    except OSError as error:
        started = type(error).__name__
    return {"fork": forked, "subprocess": started}


def granted_programs() -> dict[str, Any]:
    shell = subprocess.run(["/bin/sh", "-c", "ls / | head -1"], capture_output=True, check=True)
    python = subprocess.run([sys.executable, "-I", "-c", "print(6 * 7)"], capture_output=True)
    sleeping = subprocess.Popen(["/bin/sleep", "60"], start_new_session=True)
    sleeping.terminate()

    async def by_loop() -> bytes:
        process = await asyncio.create_subprocess_exec("/bin/echo", "loop", stdout=-1)
        return (await process.communicate())[0]

    return {
        "shell": bool(shell.stdout),
        "python": python.stdout.decode().strip(),
        "signal": -sleeping.wait(10),
        "loop": asyncio.run(by_loop()).decode().strip(),
        "namespace": call(numbers["clone"], 0x1000_0000 | 17, 0, 0, 0, 0),
        "execveat": call(numbers["execveat"], -1, b"", 0, 0, 0),
    }


def granted_network(port: int) -> dict[str, Any]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"hello")
        stream = connection.recv(16).decode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        sent = datagrams.sendto(b"x", ("127.0.0.1", port))
    with socket.socket() as listening:
        bound = call(numbers["bind"], listening.fileno(), 0, 0)
        listens = call(numbers["listen"], listening.fileno(), 1)
        fast = call(numbers["sendto"], listening.fileno(), b"x", 1, 0x2000_0000, 0, 0)
    families = {family: call(numbers["socket"], family, 1, 0) for family in (1, 10, 16, 17, 40)}
    raw = call(numbers["socket"], 2, 3, 6)
    return {
        "stream": stream,
        "sent": sent,
        "refused": sorted({bound, listens, fast, raw, *families.values()}),
    }


def interrupt_of_32_bits() -> int:
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    result: int = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    return result


def main() -> None:
    task, given = sys.argv[1], json.loads(sys.argv[2])
    numbers.update(given["numbers"])
    if given["program"]:
        install(bytearray.fromhex(given["program"]), given["slots"])
    answer: Any
    match task:
        case "work":
            answer = ordinary_work()
        case "attempts":
            answer = attempts()
        case "start":
            answer = start_a_program()
        case "programs":
            answer = granted_programs()
        case "network":
            answer = granted_network(given["port"])
        case "int80":
            answer = interrupt_of_32_bits() == os.getpid()
        case "x32":
            answer = call(0x4000_0000 | numbers["getpid"])
        case "numpy":
            import numpy as np  # type: ignore[import-not-found,unused-ignore]

            answer = float((np.ones((64, 64)) @ np.ones((64, 64))).sum())
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
