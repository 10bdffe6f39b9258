"""What a worker uses: from its cgroup, or where it has none by looking at its processes."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

import psutil

from plughost.sandbox.cgroup import Tenancy

__all__ = ["GroupSampler", "ProcessSampler", "Sample", "descendants"]

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Sample(NamedTuple):
    """What one look finds."""

    memory: int
    """Bytes."""
    cpu_time: float
    """Seconds since it began."""
    processes: int


class GroupSampler:
    """Reads the counters of a worker's group: what hides from /proc does not hide from them."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    def take(self, _: int) -> Sample:
        """The template's small part is counted in. Raises `OSError` when the group is removed."""
        group = self._tenancy.group
        processes = max(group.processes() - self._tenancy.residents, 1)
        return Sample(group.memory(), group.cpu_seconds(), processes)


class ProcessSampler:
    """Reads each process of a worker: itself and its descendants."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._parts: dict[int, psutil.Process] = {}
        self._counts_swap = _has_swap()

    def take(self, limit: int) -> Sample:
        """Resident pages, and those swapped out. Takes some 0.1 ms for each process."""
        self._parts = descendants(self._pid, self._parts)
        memory, cpu_time = 0, 0.0
        for part in self._parts.values():
            with suppress(psutil.Error), part.oneshot():
                memory += part.memory_info().rss
                times = part.cpu_times()
                cpu_time += times.user + times.system + times.children_user + times.children_system
        if self._counts_swap:
            memory += _swapped(self._parts)
        if memory > limit:
            # Resident pages shared with the template and with each other count once for each
            # process; the proportional share costs more to read and does not.
            memory = sum(_proportional(part) for part in self._parts.values())
            if self._counts_swap:
                memory += _swapped(self._parts)
        return Sample(memory, cpu_time, len(self._parts))

    def glance(self) -> int:
        """Resident bytes of the processes of the last look, in some microseconds."""
        return sum(_resident(part) for part in self._parts.values())

    def for_children(self, act: Callable[[psutil.Process], None]) -> None:
        """Do something to all but the worker itself."""
        # psutil compares the creation time before it signals: never a reused pid.
        for pid, part in self._parts.items():
            if pid != self._pid:
                with suppress(psutil.Error):
                    act(part)


def descendants(
    pid: int, known: dict[int, psutil.Process] | None = None
) -> dict[int, psutil.Process]:
    """A process and all below it; those in `known` stay the same objects."""
    known = known or {}
    parts: dict[int, psutil.Process] = {}
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        with suppress(psutil.Error):
            parts[current] = known.get(current) or psutil.Process(current)
            waiting += [child for child in _child_pids(current) if child not in parts]
    return parts


def _child_pids(pid: int) -> list[int]:
    # psutil.Process.children() reads every process of the machine; the kernel has the list.
    children: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:  # noqa: PTH123
                children += map(int, file.read().split())
    except OSError:
        if not os.path.isdir("/proc/self/task"):  # noqa: PTH112 - not Linux
            return [child.pid for child in psutil.Process(pid).children()]
    return children


def _resident(part: psutil.Process) -> int:
    try:
        with open(f"/proc/{part.pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * _PAGE
    except OSError:  # it has ended, or this is not Linux
        with suppress(psutil.Error):
            return int(part.memory_info().rss)
    return 0


def _swapped(pids: Iterable[int]) -> int:
    """Bytes swapped out: they are no longer resident, and no less the worker's."""
    total = 0
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/status", "rb") as file:  # noqa: PTH123
            _, found, rest = file.read().partition(b"VmSwap:")
            total += int(rest.split(maxsplit=1)[0]) * 1024 if found else 0
    return total


def _has_swap() -> bool:
    try:
        with open("/proc/swaps", encoding="ascii") as file:  # noqa: PTH123
            return len(file.readlines()) > 1
    except OSError:
        return False


def _proportional(part: psutil.Process) -> int:
    """Its share of the memory; where it hides that (PR_SET_DUMPABLE), all that it has resident."""
    with suppress(psutil.Error):
        info = part.memory_full_info()
        return int(getattr(info, "pss", info.rss))
    with suppress(psutil.Error):
        return int(part.memory_info().rss)
    return 0  # it has ended
