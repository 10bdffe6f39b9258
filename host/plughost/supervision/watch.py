"""The resource watch: memory and CPU of each worker and its child processes, and their totals.

It samples with psutil, idle workers seldom and busy or large ones often. A worker over its
memory is killed; one over its CPU share is stopped for a moment, so that it gets its share and
no more. What the kernel can enforce by itself (rlimits) stands behind it.
"""

import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

import psutil

from plughost.config import Limits, Totals
from plughost.exits import Cause
from plughost.units import format_bytes

from .process import Process

__all__ = ["ResourceWatch", "Usage", "Watched"]

IDLE_INTERVAL: Final = 0.5
"""Seconds between two looks at a worker without calls."""
BUSY_INTERVAL: Final = 0.05
TIGHT_INTERVAL: Final = 0.01
"""Seconds between two looks at a worker near its memory limit: it may grow 1 GB a second."""

_TIGHT: Final = 0.7  # of the limit
_MAX_CREDIT: Final = 0.1  # seconds of CPU that an idle worker saves up
_MAX_HOLD: Final = 1.0  # seconds; a held worker cannot answer that it lives


class Watched(Protocol):
    """A worker, as the watch sees it."""

    process: Process
    held: bool

    @property
    def limits(self) -> Limits: ...
    @property
    def is_busy(self) -> bool: ...
    def end(self, cause: Cause, detail: str = "") -> None: ...
    def check(self) -> None: ...


@dataclass(slots=True)
class Usage:
    """What one worker uses, its child processes included."""

    memory: int = 0
    """Resident bytes at the last look; shared pages count in part where that matters."""
    peak: int = 0
    cpu: float = 0.0
    """Cores in use between the last two looks."""
    processes: int = 1
    _parts: dict[int, psutil.Process] = field(default_factory=dict)
    _cpu_time: float = 0.0
    _credit: float = 0.0
    _looked_at: float = 0.0
    _next_look: float = 0.0
    _held_until: float = 0.0


class ResourceWatch:
    """Looks at all workers of a host. Called by the host's watch task, which sleeps between."""

    def __init__(
        self,
        totals: Totals,
        clock: Callable[[], float],
        workers: Callable[[], Collection[Watched]],
    ) -> None:
        self._totals = totals
        self._clock = clock
        self._workers = workers
        self._usage: dict[Watched, Usage] = {}

    def usage(self, worker: Watched) -> Usage:
        """What a worker uses; all zero before the first look."""
        return self._usage.get(worker) or Usage()

    def look(self) -> float:
        """Look at the workers whose turn it is. Returns the seconds until the next look."""
        now = self._clock()
        workers = [worker for worker in self._workers() if worker.process.pid]
        self._usage = {worker: self._usage.get(worker) or Usage() for worker in workers}
        for worker, usage in self._usage.items():
            if worker.process.ended:
                continue
            if worker.held and now >= usage._held_until:
                self._release(worker, usage)
            if now >= usage._next_look:
                worker.check()
                self._sample(worker, usage, now)
                self._judge_memory(worker, usage)
        self._judge_total_memory()
        self._hold(now)
        due = [usage._next_look for usage in self._usage.values()]
        due += [usage._held_until for worker, usage in self._usage.items() if worker.held]
        return max(min(due, default=now + IDLE_INTERVAL) - now, TIGHT_INTERVAL / 2)

    def _sample(self, worker: Watched, usage: Usage, now: float) -> None:
        limit = worker.limits.memory
        parts = _tree(worker.process.pid, usage._parts)
        memory = 0
        cpu_time = 0.0
        for part in list(parts.values()):
            with suppress(psutil.Error), part.oneshot():
                memory += part.memory_info().rss
                times = part.cpu_times()
                cpu_time += times.user + times.system + times.children_user + times.children_system
        if memory > limit:
            # Resident pages shared with the template and with each other count once for each
            # process; the proportional share costs more to read and does not.
            memory = sum(_proportional(part) for part in parts.values())
        elapsed = now - usage._looked_at
        if usage._looked_at and elapsed > 0:
            used = max(cpu_time - usage._cpu_time, 0.0)
            usage.cpu = used / elapsed
            usage._credit += worker.limits.cpu * elapsed - used
        usage._credit = min(usage._credit, _MAX_CREDIT * worker.limits.cpu)
        usage._parts, usage.processes = parts, len(parts)
        usage._cpu_time, usage._looked_at = cpu_time, now
        usage.memory, usage.peak = memory, max(usage.peak, memory)
        if memory > _TIGHT * limit:
            interval = TIGHT_INTERVAL
        elif worker.is_busy or usage.cpu > 0.05:
            interval = BUSY_INTERVAL
        else:
            interval = IDLE_INTERVAL
        usage._next_look = now + interval

    def _judge_memory(self, worker: Watched, usage: Usage) -> None:
        limit = worker.limits.memory
        if usage.memory > limit:
            peak = format_bytes(usage.peak)
            worker.end(Cause.MEMORY, f"memory limit {format_bytes(limit)} exceeded (peak {peak})")
            _kill_children(usage)

    def _judge_total_memory(self) -> None:
        limit = self._totals.memory
        used = sum(usage.memory for usage in self._usage.values())
        if limit is None or used <= limit:
            return
        worker, usage = max(self._usage.items(), key=lambda item: item[1].memory)
        worker.end(
            Cause.MEMORY,
            f"total memory limit {format_bytes(limit)} of all plugins exceeded "
            f"({format_bytes(used)}); this one used most, {format_bytes(usage.memory)}",
        )
        _kill_children(usage)

    def _hold(self, now: float) -> None:
        """Stop each worker that has used more CPU than it had coming, until that is made up."""
        shares = self._shares()
        for worker, usage in self._usage.items():
            debt = -usage._credit
            if debt > 0 and not worker.held and not worker.process.ended:
                worker.held = True
                usage._held_until = now + min(debt / shares[worker], _MAX_HOLD)
                worker.process.signal(signal.SIGSTOP)
                for part in _children(usage):
                    with suppress(psutil.Error):
                        part.suspend()

    def _release(self, worker: Watched, usage: Usage) -> None:
        worker.held = False
        for part in _children(usage):
            with suppress(psutil.Error):
                part.resume()
        worker.process.signal(signal.SIGCONT)

    def _shares(self) -> dict[Watched, float]:
        """The cores that each may use: its limit, or less where the total is short."""
        shares = {worker: worker.limits.cpu for worker in self._usage}
        total = self._totals.cpu
        if total is None:
            return shares
        left = total
        hungry = sorted(
            (worker for worker, usage in self._usage.items() if usage.cpu > 0.01 or worker.held),
            key=lambda worker: shares[worker],
        )
        for position, worker in enumerate(hungry):
            shares[worker] = min(shares[worker], left / (len(hungry) - position))
            left -= shares[worker]
        return shares


def _tree(pid: int, known: dict[int, psutil.Process]) -> dict[int, psutil.Process]:
    """The process and its descendants; those that were there before stay the same objects."""
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


def _children(usage: Usage) -> list[psutil.Process]:
    return list(usage._parts.values())[1:]


def _kill_children(usage: Usage) -> None:
    for part in _children(usage):
        with suppress(psutil.Error):
            part.kill()  # psutil looks at the creation time first: never a reused pid


def _proportional(part: psutil.Process) -> int:
    try:
        info = part.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", info.rss))
