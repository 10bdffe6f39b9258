"""Attempts to use up what others need."""

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from plughost.units import KiB, MiB

from .attack import Aim, Attempt, Control, Ends, Group, Proof, Section
from .ipc import ipc_key, remove_ipc
from .proofs import claims, status_of
from .range import Range

__all__ = ["RESOURCES"]

RESOURCES: Final = Section(Group.RESOURCES)

# Enough to break every bound below, and little enough for any machine that runs tests.
_MEMORY: Final = 300 * MiB
_DISK: Final = 300 * MiB
_BURST: Final = 640 * MiB  # longer than the watch takes to notice, also on a busy machine
_PROCESSES: Final = 200
_FILES: Final = 3000
_LINES: Final = 20_000

_SMALL: Final = {"memory": 128 * MiB}
_FEW_FILES: Final = {"data_files": 1000, "data_size": 100 * MiB, "file_size": 64 * MiB}
_KILLED: Final[dict[str, Any]] = {"ends": Ends.KILLED, "limits": _SMALL, "spoils": True}
_BOUNDED: Final[dict[str, Any]] = {"ends": Ends.BOUNDED, "spoils": True}


def _memory() -> Aim:
    return Aim({"size": _MEMORY}, claims("MiB"))


@RESOURCES.attack("fills memory", "cgroup limits watch", **_KILLED)
def fill_memory(_: Range) -> Aim:
    return _memory()


@RESOURCES.attack("fills memory from eight threads at once", "cgroup limits watch", **_KILLED)
def fill_with_threads_stacks(_: Range) -> Aim:
    return _memory()


@RESOURCES.attack("fills a shared map of memory", "cgroup limits watch", **_KILLED)
def fill_shared_memory_map(_: Range) -> Aim:
    return _memory()


@RESOURCES.attack("fills a file in memory", "cgroup limits seccomp", **_KILLED)
def fill_memory_file(_: Range) -> Aim:
    return _memory()


@RESOURCES.attack("fills System V shared memory", "cgroup seccomp watch", **_KILLED)
def fill_system_v_memory(at: Range) -> Aim:
    key = ipc_key()
    at.later(remove_ipc, "shm", key)
    return Aim({"size": _MEMORY, "key": key}, claims("MiB"))


@RESOURCES.attack(
    "locks memory, so that it is never swapped out", "limits seccomp", control=Control.BARE
)
def lock_memory(_: Range) -> Aim:
    return Aim({"size": 32 * KiB}, claims("locked"))  # unprivileged users had 64 KiB for long


@RESOURCES.attack(
    "fills the buffers of sockets, memory of the kernel's", "cgroup limits", **_BOUNDED
)
def fill_socket_buffers(_: Range) -> Aim:
    return Aim({"size": 100 * MiB}, claims("MiB"))


def _clear(folder: Path, word: str) -> None:
    for path in folder.glob(f"{word}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _temporary(at: Range, **more: Any) -> dict[str, Any]:
    word = f"plughost-attack-{secrets.token_hex(6)}"
    folder = Path(tempfile.gettempdir())
    at.later(_clear, folder, word)
    return {"word": word, "temporary": str(folder)} | more


@RESOURCES.attack("fills /tmp", "mounts landlock", **_BOUNDED)
def fill_temporary_folder(at: Range) -> Aim:
    return Aim(_temporary(at, size=_DISK), claims("MiB"))


@RESOURCES.attack("fills /dev/shm", "mounts landlock", **_BOUNDED)
def fill_dev_shm(at: Range) -> Aim:
    word = f"plughost-attack-{secrets.token_hex(6)}"
    at.later(_clear, Path("/dev/shm"), word)  # noqa: S108 - that is the attack
    return Aim({"word": word, "size": _MEMORY}, claims("MiB"))


def _on_disk(at: Range, size: int) -> Proof:
    """The data folder holds so much, as the host finds it."""
    folder = at.data

    def proof(_: Attempt) -> str:
        held = sum(path.lstat().st_size for path in folder.rglob("*"))
        _clear(folder, "")
        return f"its data folder holds {held // MiB} MiB" if held >= size else ""

    return proof


@RESOURCES.attack("fills the disk with one file", "limits", limits=_FEW_FILES, **_BOUNDED)
def fill_disk_with_one_file(at: Range) -> Aim:
    return Aim({"size": _DISK}, _on_disk(at, _DISK))


@RESOURCES.attack("fills the disk with several files", "watch", limits=_FEW_FILES, **_BOUNDED)
def fill_disk_with_several_files(at: Range) -> Aim:
    return Aim({"size": _BURST}, _on_disk(at, _BURST - 16 * MiB))


@RESOURCES.attack("makes a file of 10 GB that has holes", "limits", limits=_FEW_FILES, **_BOUNDED)
def make_a_sparse_file(at: Range) -> Aim:
    size = 10 * 1024 * MiB
    return Aim({"size": size}, _on_disk(at, size))


@RESOURCES.attack("makes thousands of files", "watch", limits=_FEW_FILES, **_BOUNDED)
def make_many_files(at: Range) -> Aim:
    folder = at.data

    def proof(attempt: Attempt) -> str:
        count = sum(1 for _ in folder.iterdir())
        _clear(folder, "f")
        return f"there are {count} files" if attempt.answer.got and count >= _FILES else ""

    return Aim({"count": _FILES}, proof)


@RESOURCES.attack("makes thousands of files in /tmp", "mounts landlock", **_BOUNDED)
def make_many_temporary_files(at: Range) -> Aim:
    return Aim(_temporary(at, count=_FILES), claims("files"))


@RESOURCES.attack("opens thousands of files", "limits", limits={"open_files": 256}, **_BOUNDED)
def open_many_files(_: Range) -> Aim:
    return Aim({"count": 2000, "allowed": 512}, claims("descriptors"))


def _fork_bomb() -> Aim:
    return Aim({"count": _PROCESSES}, claims("processes"))


@RESOURCES.attack("starts processes without end", "seccomp", spoils=True)
def fork_bomb(_: Range) -> Aim:
    return _fork_bomb()


@RESOURCES.attack(
    "starts processes without end where processes are granted", "cgroup limits watch",
    grants=("processes", "files", "read-only"), **_BOUNDED,
)  # fmt: skip
def fork_bomb_where_processes_are_granted(_: Range) -> Aim:
    return _fork_bomb()


@RESOURCES.attack("starts threads without end", "cgroup limits", **_BOUNDED)
def thread_bomb(_: Range) -> Aim:
    status = status_of("status")

    def proof(attempt: Attempt) -> str:
        for line in status(attempt.pid).splitlines():
            name, _, count = line.partition(":")
            if name == "Threads" and int(count) >= _PROCESSES:
                return f"it has {count.strip()} threads"
        return ""

    return Aim({"count": _PROCESSES}, proof)


@RESOURCES.attack("never rests", "cgroup watch", limits={"cpu": 0.1}, **_BOUNDED)
def burn_processor_time(_: Range) -> Aim:
    def proof(attempt: Attempt) -> str:
        name, _, share = attempt.answer.detail.partition("=")
        if name != "share" or float(share) < 0.25:
            return ""
        return f"it has had {share} of a core where 0.1 is allowed"

    return Aim({"seconds": 1.5, "threads": 4}, proof)


def _lines(attempt: Attempt) -> str:
    return f"{attempt.log} lines are in the log" if attempt.log > _LINES // 4 else ""


@RESOURCES.attack("floods the log with records", "watch", **_BOUNDED)
def flood_log(_: Range) -> Aim:
    return Aim({"count": _LINES, "word": "flood"}, _lines)


@RESOURCES.attack("floods its standard error", "watch", **_BOUNDED)
def flood_output(_: Range) -> Aim:
    return Aim({"count": _LINES, "word": "flood"}, _lines)
