"""Using up what others need. Every attempt has an end that this machine can bear."""

import ctypes
import hashlib
import logging
import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from .native import Answer, call, hold, libc, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_MIB: Final = 1024 * 1024


def _wait(target: Target) -> None:
    """For as long as whoever watches may take to see it."""
    time.sleep(target["wait"])


def _bytes_of(target: Target) -> int:
    return int(target["size"])


def fill_memory(target: Target) -> Answer:
    def fill() -> str:
        kept = [b"x" * _MIB for _ in range(_bytes_of(target) // _MIB)]
        hold(kept.clear)
        _wait(target)
        return f"{len(kept)} MiB"

    return one_way(fill)


def fill_shared_memory_map(target: Target) -> Answer:
    def fill() -> str:
        shared = mmap.mmap(-1, _bytes_of(target))
        for offset in range(0, len(shared), 4096):
            shared[offset] = 1
        hold(shared.close)
        _wait(target)
        return f"{len(shared) // _MIB} MiB"

    return one_way(fill)


def fill_memory_file(target: Target) -> Answer:
    def fill() -> str:
        fd = call("memfd_create", b"attack", 0)
        hold(lambda: os.close(fd))
        for _ in range(_bytes_of(target) // _MIB):
            os.write(fd, b"x" * _MIB)
        _wait(target)
        return f"{os.fstat(fd).st_size // _MIB} MiB"

    return one_way(fill)


def fill_system_v_memory(target: Target) -> Answer:
    def fill() -> str:
        size = _bytes_of(target)
        segment = call("shmget", target["key"], size, 0o1600)
        hold(lambda: call("shmctl", segment, 0, None))  # IPC_RMID
        libc.shmat.restype = ctypes.c_void_p
        address = libc.shmat(segment, None, 0)
        if address is None or address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "shmat")
        ctypes.memset(address, 1, size)
        _wait(target)
        return f"{size // _MIB} MiB"

    return one_way(fill)


def fill_with_threads_stacks(target: Target) -> Answer:
    """Memory in mappings of many threads at once, to outrun whoever looks now and then."""

    def fill() -> str:
        kept: list[bytes] = []
        share = _bytes_of(target) // 8
        threads = [threading.Thread(target=lambda: kept.append(b"x" * share)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if len(kept) < len(threads):
            raise MemoryError
        hold(kept.clear)
        _wait(target)
        return f"{share * 8 // _MIB} MiB"

    return one_way(fill)


def _file(path: Path, size: int) -> str:
    with path.open("wb", buffering=0) as file:
        written = 0
        while written < size:
            written += file.write(b"x" * _MIB)
    return f"{written // _MIB} MiB in {path}"


def _without_size_signal() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # EFBIG instead


def fill_temporary_folder(target: Target) -> Answer:
    _without_size_signal()
    folder = Path(target["temporary"])
    share = _bytes_of(target) // 8

    def fill() -> str:
        for number in range(8):
            _file(folder / f"{target['word']}-{number}", share)
        _wait(target)
        return f"{8 * share // _MIB} MiB"

    return one_way(fill)


def fill_dev_shm(target: Target) -> Answer:
    path = Path("/dev/shm", target["word"])  # noqa: S108
    return _slowly(target, lambda: _file(path, _bytes_of(target)))


def fill_disk_with_one_file(target: Target) -> Answer:
    _without_size_signal()
    return _slowly(target, lambda: _file(Path(target["data"], "large"), _bytes_of(target)))


def _slowly(target: Target, way: Callable[[], str]) -> Answer:
    def wait() -> str:
        told = way()
        _wait(target)
        return told

    return one_way(wait)


def fill_disk_with_several_files(target: Target) -> Answer:
    _without_size_signal()

    def fill() -> str:
        for number in range(_bytes_of(target) // (8 * _MIB)):
            path = Path(target["data"], f"part-{number}")
            with path.open("wb", buffering=0) as file:
                file.write(b"x" * (8 * _MIB))
        _wait(target)
        return f"{_bytes_of(target) // _MIB} MiB"

    return one_way(fill)


def make_a_sparse_file(target: Target) -> Answer:
    _without_size_signal()
    path = Path(target["data"], "sparse")

    def by_truncate() -> None:
        with path.open("wb") as file:
            file.truncate(_bytes_of(target))

    def by_seek() -> None:
        with path.open("wb") as file:
            file.seek(_bytes_of(target))
            file.write(b"x")

    def by_allocation() -> None:
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), _bytes_of(target) - 1, 1)

    return ways(truncate=by_truncate, seek=by_seek, allocation=by_allocation)


def _many_files(folder: Path, target: Target) -> str:
    count = target["count"]
    for number in range(count):
        os.close(os.open(folder / f"f{number}", os.O_CREAT | os.O_WRONLY))
    _wait(target)
    return f"{count} files"


def make_many_files(target: Target) -> Answer:
    return one_way(lambda: _many_files(Path(target["data"]), target))


def make_many_temporary_files(target: Target) -> Answer:
    def make() -> str:
        folder = Path(target["temporary"], target["word"])
        folder.mkdir()
        return _many_files(folder, target)

    return one_way(make)


def open_many_files(target: Target) -> Answer:
    def open_them(opened: Callable[[], int]) -> str:
        fds: list[int] = []
        hold(lambda: list(map(os.close, fds)))
        try:
            while len(fds) < target["count"]:
                fds.append(opened())
        except OSError:
            if len(fds) > target["allowed"]:
                return f"{len(fds)} descriptors"
            raise
        return f"{len(fds)} descriptors"

    return ways(
        files=lambda: open_them(lambda: os.open("/dev/null", os.O_RDONLY)),
        copies=lambda: open_them(lambda: os.dup(0)),
    )


def _processes(target: Target) -> Answer:
    children: list[int] = []

    def end() -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def bomb() -> str:
        hold(end)
        for _ in range(target["count"]):
            child = os.fork()
            if child == 0:
                time.sleep(20.0)
                os._exit(0)
            children.append(child)
        _wait(target)
        return f"{len(children)} processes"

    return one_way(bomb)


fork_bomb = _processes


def thread_bomb(target: Target) -> Answer:
    stop = threading.Event()

    def bomb() -> str:
        hold(stop.set)
        threading.stack_size(256 * 1024)
        try:
            for _ in range(target["count"]):
                threading.Thread(target=stop.wait, daemon=True).start()
        except RuntimeError as exc:
            raise BlockingIOError(11, "clone") from exc
        finally:
            threading.stack_size(0)
        _wait(target)
        return f"{threading.active_count()} threads"

    return one_way(bomb)


def burn_processor_time(target: Target) -> Answer:
    # More than one thread: beside the work of others, one alone may get less than it is allowed.
    end = time.monotonic() + target["seconds"]

    def work() -> None:
        while time.monotonic() < end:
            hashlib.pbkdf2_hmac("sha256", b"", b"", 10_000)  # it lets other threads run

    def burn() -> str:
        began, before = time.monotonic(), time.process_time()
        threads = [threading.Thread(target=work) for _ in range(target["threads"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        share = (time.process_time() - before) / (time.monotonic() - began)
        return f"share={share:.2f}"

    return one_way(burn)


def flood_log(target: Target) -> Answer:
    logger = logging.getLogger("attacker")

    def flood() -> str:
        for number in range(target["count"]):
            logger.warning("%s %d", target["word"], number)
        return f"{target['count']} records"

    return one_way(flood)


def flood_output(target: Target) -> Answer:
    def flood() -> str:
        text = "".join(f"{target['word']} {number}\n" for number in range(target["count"]))
        sys.stderr.write(text)
        sys.stderr.flush()
        return f"{target['count']} lines"

    return one_way(flood)


def fill_socket_buffers(target: Target) -> Answer:
    """Kernel memory, which no limit of the process counts."""

    def fill() -> str:
        kept: list[socket.socket] = []
        hold(lambda: list(map(socket.socket.close, kept)))
        total = 0
        while total < _bytes_of(target):
            for one in (pair := socket.socketpair()):
                one.setblocking(False)
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MIB)
            kept.extend(pair)
            try:
                while True:
                    total += pair[0].send(b"x" * 65536)
            except BlockingIOError:
                pass
        return f"{total // _MIB} MiB in {len(kept)} sockets"

    return one_way(fill)


def lock_memory(target: Target) -> Answer:
    """Pages that are never swapped out."""

    def lock() -> str:
        region = mmap.mmap(-1, _bytes_of(target))
        hold(region.close)
        address = ctypes.addressof(ctypes.c_char.from_buffer(region))
        if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(region))) != 0:
            raise OSError(ctypes.get_errno(), "mlock")
        return f"locked {len(region)} bytes"

    return one_way(lock)
