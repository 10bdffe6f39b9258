"""The disk watch: what the plugins' data folders hold, against their limits.

A thread counts, bounded by the files that a folder may hold; busy workers' folders often, those
at rest rarely, and at once where the file system has filled by more than a folder had left. A
worker over its limit is ended, and not started again before the folder is cleaned. What a worker
writes between two looks is not kept from it: `Limits.file_size` bounds each file.
"""

import os
import stat
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.to_thread

from plughost.config import Limits
from plughost.exits import Cause
from plughost.units import format_bytes

from .process import Process
from .sampler import descendants

__all__ = ["DiskWatch", "DiskWatched", "FolderUse", "data_folder_problem", "measure_folder"]

BUSY_INTERVAL: Final = 2.0
"""Seconds between two counts of a busy worker's folder."""
REST_INTERVAL: Final = 30.0
"""Seconds between two counts of the folder of a worker at rest."""
_BUSY_GLANCE: Final = 0.1
"""Seconds between two questions how full the file system is, while a worker is busy."""
_REST_GLANCE: Final = 0.5
_MOST_TIME: Final = 0.1  # the share of a core that counting one folder may take
_DEEPEST: Final = 64  # folders in folders: each keeps a descriptor while it is counted
_BLOCK: Final = 512  # bytes of st_blocks, whatever the file system's own block


class DiskWatched(Protocol):
    """A worker, as the disk watch sees it."""

    process: Process

    @property
    def limits(self) -> Limits: ...
    @property
    def data_folder(self) -> Path | None:
        """Where it keeps its files; None if it may not keep any."""

    @property
    def is_busy(self) -> bool: ...
    def end(self, cause: Cause, detail: str = "") -> None: ...


@dataclass(frozen=True, slots=True)
class FolderUse:
    """What was found in a data folder."""

    size: int = 0
    """Bytes on the disk: holes of sparse files take none, and a hard link takes none twice."""
    files: int = 0
    """Files and folders; no more than one over the limit are counted."""
    problem: str = ""
    """Why the rest could not be counted."""

    def excess(self, limits: Limits) -> str:
        """Which limit it is over, in words; nothing if it is over none."""
        if self.problem:
            return f"data folder cannot be measured: {self.problem}"
        if self.files > limits.data_files:
            return f"data folder limit {limits.data_files} files exceeded"
        if self.size > limits.data_size:
            limit, size = format_bytes(limits.data_size), format_bytes(self.size)
            return f"data folder limit {limit} exceeded ({size})"
        return ""


def measure_folder(folder: Path, most_files: int, pids: Collection[int] = ()) -> FolderUse:
    """Count a folder that a hostile process may change meanwhile.

    Follows no symlink, enters no other file system, and stops beyond `most_files`. Deleted files
    that the processes `pids` still hold open count as well.
    """
    size = files = 0
    seen: set[int] = set()
    try:
        root = os.open(folder, _FOLDER)
    except OSError as exc:
        return FolderUse() if isinstance(exc, FileNotFoundError) else FolderUse(problem=str(exc))
    try:
        device = os.fstat(root).st_dev
        with closing(_walk(root, device, 0)) as entries:
            for entry in entries:
                files += 1
                if entry.st_ino not in seen:
                    seen.add(entry.st_ino)
                    size += entry.st_blocks * _BLOCK
                if files > most_files:
                    break
    except _Uncountable as exc:
        return FolderUse(size, files, str(exc))
    finally:
        os.close(root)
    for held in _deleted_but_open(pids, device):
        if held.st_ino not in seen:
            seen.add(held.st_ino)
            size += held.st_blocks * _BLOCK
    return FolderUse(size, files)


def data_folder_problem(folder: Path, limits: Limits) -> str:
    """Why a plugin with this data folder may not start, and what to do; nothing if it may."""
    use = measure_folder(folder, limits.data_files)
    excess = use.excess(limits)
    if not excess:
        return ""
    return (
        f"{excess}: remove from {folder} what the plugin does not need, "
        "or raise Limits.data_size or Limits.data_files"
    )


class _Uncountable(Exception):
    """Raised when a folder hides what it holds."""


_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _walk(folder: int, device: int, depth: int) -> Generator[os.stat_result]:
    """All entries below an open folder. What disappears meanwhile is passed over."""
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield found
            if not stat.S_ISDIR(found.st_mode):
                continue
            if depth >= _DEEPEST:
                raise _Uncountable(f"its folders are nested deeper than {_DEEPEST}")
            try:
                inner = os.open(entry.name, _FOLDER, dir_fd=folder)
            except PermissionError:
                raise _Uncountable("it holds a folder that may not be read") from None
            except OSError:  # it is gone, or something else by now: the next look counts it
                continue
            try:
                if os.fstat(inner).st_dev == device:
                    yield from _walk(inner, device, depth + 1)
            finally:
                os.close(inner)


def _deleted_but_open(pids: Collection[int], device: int) -> Iterator[os.stat_result]:
    """Files of a device that have no name any more, and that these processes hold open."""
    for pid in pids:
        with suppress(OSError):  # it has ended, or may not be looked into
            for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                with suppress(OSError):
                    held = os.stat(f"/proc/{pid}/fd/{name}")  # noqa: PTH116
                    if held.st_dev == device and not held.st_nlink and stat.S_ISREG(held.st_mode):
                        yield held


class _Account:
    """One worker's folder."""

    def __init__(self, worker: DiskWatched, folder: Path) -> None:
        self.worker = worker
        self.folder = folder
        self.use = FolderUse()
        self._counted_at = -REST_INTERVAL
        self._pause = 0.0
        self._free = 0
        self._free_files = 0

    def is_due(self, now: float) -> bool:
        """Whether to count. How full the file system is costs microseconds to ask."""
        waited = now - self._counted_at
        if waited < self._pause:
            return False
        if waited >= (BUSY_INTERVAL if self.worker.is_busy else REST_INTERVAL):
            return True
        limits = self.worker.limits
        with suppress(OSError):
            system = os.statvfs(self.folder)
            taken = self._free - system.f_bfree * system.f_frsize
            new_files = self._free_files - system.f_ffree
            room = limits.data_size - self.use.size
            return taken > room or new_files > limits.data_files - self.use.files
        return False

    def count(self) -> None:
        """Count the folder. In a thread: it reads the disk."""
        begun = time.thread_time()  # not of the clock: on a busy machine that is others' time
        with suppress(OSError):  # before the count: what comes while it runs is new
            system = os.statvfs(self.folder)
            self._free, self._free_files = system.f_bfree * system.f_frsize, system.f_ffree
        pids = descendants(self.worker.process.pid)
        self.use = measure_folder(self.folder, self.worker.limits.data_files, pids)
        self._pause = (time.thread_time() - begun) / _MOST_TIME

    def counted(self, now: float) -> None:
        self._counted_at = now


class DiskWatch:
    """Looks at the data folders of all workers of a host, in the host's task `run`."""

    def __init__(
        self, clock: Callable[[], float], workers: Callable[[], Collection[DiskWatched]]
    ) -> None:
        self._clock = clock
        self._workers = workers
        self._accounts: dict[DiskWatched, _Account] = {}

    def use(self, worker: DiskWatched) -> FolderUse:
        """What its folder held at the last count."""
        account = self._accounts.get(worker)
        return FolderUse() if account is None else account.use

    async def run(self) -> None:
        """Count, and sleep until the next folder could be due, for ever."""
        while True:
            await self.look()
            busy = any(worker.is_busy for worker in self._accounts)
            await anyio.sleep(_BUSY_GLANCE if busy else _REST_GLANCE)

    async def look(self) -> None:
        """Count the folders that are due, one after the other."""
        self._accounts = {
            worker: self._accounts.get(worker) or _Account(worker, worker.data_folder)
            for worker in self._workers()
            if worker.data_folder and worker.process.pid > 0 and not worker.process.ended
        }
        for worker, account in list(self._accounts.items()):
            if account.is_due(self._clock()) and not worker.process.ended:
                await anyio.to_thread.run_sync(account.count, abandon_on_cancel=True)
                account.counted(self._clock())
                excess = account.use.excess(worker.limits)
                if excess and not worker.process.ended:
                    worker.end(Cause.DISK, excess)
