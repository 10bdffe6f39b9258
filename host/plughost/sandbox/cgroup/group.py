"""One cgroup: what is put in, what it uses, its end. What differs by version is below it."""

import os
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from plughost.config import Limits
from plughost.errors import PlughostError

__all__ = ["Cgroup", "CgroupError"]

TEMPLATE_PROCESSES: Final = 2
"""The template process lives in the group of its workers, with its first process."""

PERIOD: Final = 100_000
"""Microseconds in which a share of the processors is counted; the kernel's own default."""

_LONG_PERIOD: Final = 1_000_000  # the longest there is, for shares too small for the default
_LEAST_QUOTA: Final = 1_000  # microseconds; the kernel refuses less
_REMOVE_RETRY: Final = 0.01  # seconds
_READ_SIZE: Final = 65_536  # bytes; the files of a group are far shorter, but for many processes


class CgroupError(PlughostError):
    """Raised when the kernel refuses a group or a limit."""

    def __init__(self, action: str, error: OSError) -> None:
        super().__init__(f"cgroup: {action}: {error.strerror or error}")
        self.errno = error.errno


class Cgroup(ABC):
    """A group of processes with limits. Reading it costs microseconds, `add` milliseconds."""

    def __init__(self, folders: Iterable[Path], enforces: Iterable[str]) -> None:
        self._folders = list(dict.fromkeys(folders))  # version 1 may mount controllers together
        self.enforces = frozenset(enforces)
        """What the kernel holds it to: of `memory`, `cpu` and `processes`."""
        self.cpu_share = 0.0
        """The cores that the kernel allows it; 0 where it holds it to none."""

    @property
    def folder(self) -> Path:
        """The first of its folders, for display."""
        return self._folders[0]

    def make(self, limits: Limits) -> None:
        """Make its folders and set the limits. Raises `OSError`."""
        for folder in self._folders:
            folder.mkdir()
        self.set_limits(limits)

    @abstractmethod
    def set_limits(self, limits: Limits) -> None:
        """Set the limits that it enforces. Raises `OSError`."""

    @abstractmethod
    def memory(self) -> int:
        """Bytes in use that cannot be dropped: file pages read or written do not count."""

    @abstractmethod
    def memory_peak(self) -> int:
        """The most bytes ever charged, file pages included; 0 on kernels that do not tell."""

    @abstractmethod
    def oom_kills(self) -> int:
        """Processes that the kernel has killed in it for want of memory, here or machine-wide."""

    @abstractmethod
    def limit_hits(self) -> int:
        """How often its own memory limit was met; more than before tells whose want it was."""

    def forget_peak(self) -> None:  # noqa: B027 - version 2 has counters instead
        """Begin to look for the peak anew, where the kernel can."""

    @abstractmethod
    def cpu_seconds(self) -> float:
        """CPU time of all that ran in it."""

    @abstractmethod
    def _write_cpu(self, quota: int, period: int) -> None: ...

    def add(self, pid: int) -> None:
        """Move a process in; its later children are born inside. One that has ended is no error.

        Takes 5 to 30 ms where none was moved shortly before, most of it a wait for all
        processors of the machine, and 0.1 ms otherwise. Raises `CgroupError`.
        """
        for folder in self._folders:
            try:
                write(folder / "cgroup.procs", pid)
            except ProcessLookupError:
                return
            except OSError as exc:
                raise CgroupError(f"moving process {pid} to {folder}", exc) from exc

    def hold(self, pid: int) -> None:
        """Move a process in, unless it was born there. A group that is gone takes nobody.

        Raises `CgroupError`.
        """
        with suppress(FileNotFoundError):
            if pid not in self.pids():
                self.add(pid)

    def pids(self) -> list[int]:
        """The processes in it."""
        return [int(pid) for pid in read(self.folder / "cgroup.procs").split()]

    def processes(self) -> int:
        """How many processes are in it."""
        return len(self.pids())

    def limit_cpu(self, cores: float) -> None:
        """Hold it to this share of the processors from now on. Does nothing if it is so already."""
        if "cpu" not in self.enforces or cores == self.cpu_share:
            return
        try:
            self._set_cpu(cores)
        except OSError as exc:
            raise CgroupError(f"setting the CPU share of {self.folder}", exc) from exc

    def _set_cpu(self, cores: float) -> None:
        period = PERIOD if cores * PERIOD >= _LEAST_QUOTA else _LONG_PERIOD
        self._write_cpu(max(int(cores * period), _LEAST_QUOTA), period)
        self.cpu_share = cores

    def kill(self) -> None:
        """SIGKILL to all in it. What forks faster than the list is read dies with its parents."""
        for _ in range(100):
            if not self._kill_listed():
                return

    def _kill_listed(self) -> bool:
        """Kill what the list shows. By pidfd: a listed pid may be another process's by now."""
        fds = {}
        try:
            for pid in self.pids():
                with suppress(OSError):
                    fds[pid] = os.pidfd_open(pid)
            still = set(self.pids())
            for pid, fd in fds.items():
                if pid in still:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
            return bool(still)
        finally:
            for fd in fds.values():
                os.close(fd)

    def remove(self, timeout: float = 1.0) -> bool:
        """Remove it, once its processes are gone; waits `timeout` seconds at the most for that.

        Returns whether it is gone. `CgroupTree.sweep` removes later what could not be.
        """
        until = time.monotonic() + timeout
        left = self._folders
        while True:
            left = [folder for folder in left if not _remove_folder(folder)]
            if not left or time.monotonic() >= until:
                return not left
            time.sleep(_REMOVE_RETRY)

    def __repr__(self) -> str:
        return f"<Cgroup {self.folder} enforces={sorted(self.enforces)}>"


def read(path: Path) -> bytes:
    """A file of a group, whole."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(fd, _READ_SIZE):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def field(path: Path, name: bytes) -> int:
    """The number in the line `NAME NUMBER` of a file of a group; 0 without such a line.

    Such files have up to 70 lines, and are read at every look at a worker: nothing is split.
    """
    text = b"\n" + read(path)
    at = text.find(b"\n" + name + b" ")
    return 0 if at < 0 else int(text[at + len(name) + 2 :].split(b"\n", 1)[0])


def write(path: Path, value: object) -> None:
    """Set one value, in one system call, as the kernel wants it."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def _remove_folder(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # EBUSY: a process of it has not quite ended
        return False
    return True
