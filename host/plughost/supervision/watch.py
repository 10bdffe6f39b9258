"""The resource watch: memory and CPU of each worker and its child processes, and their totals.

It samples with psutil, idle workers seldom and busy or large ones often. A worker over its
memory is killed; one over its CPU share is stopped for a moment, so that it gets its share and
no more. What the kernel can enforce by itself (rlimits) stands behind it.
"""

import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
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
"""Seconds between two looks at a busy worker, at the most."""
TIGHT_INTERVAL: Final = 0.01
"""Seconds between two looks at a worker near its memory limit."""

# Bytes a second that a worker may fill: the sooner it could reach its limit, the sooner the
# next look. Measured: a loop that keeps a megabyte after the other, on this machine's kind.
_GROWTH: Final = 5e9
_MAX_CREDIT: Final = 0.1  # seconds of CPU that an idle worker saves up
_IDLE_CPU: Final = 0.05  # cores
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
    processes: int = 0


class _Account:
    """One worker under the watch."""

    def __init__(self, worker: Watched, now: float) -> None:
        self.worker = worker
        self.usage = Usage()
        self.next_look = now
        self.held_until = now
        self._parts: dict[int, psutil.Process] = {}
        self._cpu_time = 0.0
        self._credit = 0.0  # seconds of CPU that it may still use before it is held
        self._looked_at: float | None = None

    @property
    def due(self) -> float:
        return min(self.next_look, self.held_until) if self.worker.held else self.next_look

    def look(self, now: float, share: float) -> None:
        """Sample it, and set the time of the next look by what was found."""
        worker, usage = self.worker, self.usage
        limit = worker.limits.memory
        self._parts = _tree(worker.process.pid, self._parts)
        memory, cpu_time = 0, 0.0
        for part in self._parts.values():
            with suppress(psutil.Error), part.oneshot():
                memory += part.memory_info().rss
                times = part.cpu_times()
                cpu_time += times.user + times.system + times.children_user + times.children_system
        if memory > limit:
            # Resident pages shared with the template and with each other count once for each
            # process; the proportional share costs more to read and does not.
            memory = sum(_proportional(part) for part in self._parts.values())
        if self._looked_at is not None:
            elapsed = max(now - self._looked_at, 1e-6)
            used = max(cpu_time - self._cpu_time, 0.0)
            usage.cpu = used / elapsed
            self._credit = min(self._credit + share * elapsed - used, _MAX_CREDIT * share)
        self._looked_at, self._cpu_time = now, cpu_time
        usage.memory, usage.peak = memory, max(usage.peak, memory)
        usage.processes = len(self._parts)
        self.next_look = now + self._interval(limit - memory)

    def _interval(self, room: int) -> float:
        if not self.worker.is_busy and self.usage.cpu < _IDLE_CPU:
            return IDLE_INTERVAL
        return min(max(room / _GROWTH, TIGHT_INTERVAL), BUSY_INTERVAL)

    def end(self, reason: str) -> None:
        """Kill it and its child processes for the memory that they use."""
        self.worker.end(Cause.MEMORY, reason)
        self._for_children(psutil.Process.kill)

    def hold(self, now: float, share: float) -> None:
        """Stop it for as long as it takes to earn the CPU time that it has used too much."""
        if self._credit < 0 and not self.worker.held:
            self.held_until = now + min(-self._credit / share, _MAX_HOLD)
            self.worker.held = True
            self.worker.process.signal(signal.SIGSTOP)
            self._for_children(psutil.Process.suspend)

    def release(self) -> None:
        """Let it run again."""
        self.worker.held = False
        self._for_children(psutil.Process.resume)
        self.worker.process.signal(signal.SIGCONT)

    def _for_children(self, act: Callable[[psutil.Process], None]) -> None:
        # psutil compares the creation time before it signals: never a reused pid.
        for pid, part in self._parts.items():
            if pid != self.worker.process.pid:
                with suppress(psutil.Error):
                    act(part)


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
        self._accounts: dict[Watched, _Account] = {}

    def usage(self, worker: Watched) -> Usage:
        """What a worker uses; all zero before the first look."""
        account = self._accounts.get(worker)
        return Usage() if account is None else account.usage

    def look(self) -> float:
        """Look at the workers whose turn it is. Returns the seconds until the next look."""
        now = self._clock()
        live = [w for w in self._workers() if w.process.pid and not w.process.ended]
        self._accounts = {w: self._accounts.get(w) or _Account(w, now) for w in live}
        accounts = self._accounts.values()
        shares = self._shares()
        for account in accounts:
            worker = account.worker
            if worker.held and now >= account.held_until:
                account.release()
            if now >= account.next_look:
                worker.check()
                account.look(now, shares[worker])
                self._judge_memory(account)
            account.hold(now, shares[worker])
        self._judge_total_memory()
        next_look = min((account.due for account in accounts), default=now + IDLE_INTERVAL)
        return max(next_look - now, TIGHT_INTERVAL / 2)

    def _judge_memory(self, account: _Account) -> None:
        limit = account.worker.limits.memory
        usage = account.usage
        if usage.memory > limit:
            peak = format_bytes(usage.peak)
            account.end(f"memory limit {format_bytes(limit)} exceeded (peak {peak})")

    def _judge_total_memory(self) -> None:
        limit = self._totals.memory
        used = sum(account.usage.memory for account in self._accounts.values())
        if limit is not None and used > limit:
            largest = max(self._accounts.values(), key=lambda account: account.usage.memory)
            largest.end(
                f"total memory limit {format_bytes(limit)} of all plugins exceeded "
                f"({format_bytes(used)}); this one used most, {format_bytes(largest.usage.memory)}"
            )

    def _shares(self) -> dict[Watched, float]:
        """The cores that each may use: its limit, or less where the total is short."""
        shares = {worker: worker.limits.cpu for worker in self._accounts}
        left = self._totals.cpu
        if left is None:
            return shares
        hungry = [w for w, a in self._accounts.items() if a.usage.cpu > _IDLE_CPU or w.held]
        hungry.sort(key=lambda worker: shares[worker])
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


def _proportional(part: psutil.Process) -> int:
    """Its share of the memory; where it hides that (PR_SET_DUMPABLE), all that it has resident."""
    with suppress(psutil.Error):
        info = part.memory_full_info()
        return int(getattr(info, "pss", info.rss))
    with suppress(psutil.Error):
        return int(part.memory_info().rss)
    return 0  # it has ended
