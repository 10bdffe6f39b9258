"""The resource watch: memory and CPU of each worker and its child processes, and their totals.

What the kernel holds to its limit by a cgroup, the watch only reads: for display, for the totals,
and to tell of a worker whose child process the kernel has killed. Elsewhere it keeps the limits
itself, idle workers seldom and busy or large ones often looked at: one over its memory is killed,
one over its CPU share is stopped for a moment, so that it gets its share and no more. What the
kernel can enforce for one process (rlimits) stands behind it.
"""

import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import anyio
import psutil

from plughost.config import Limits, Totals
from plughost.exits import Cause
from plughost.sandbox.cgroup import Tenancy
from plughost.units import format_bytes

from .process import Process
from .sampler import GroupSampler, ProcessSampler, Sample

__all__ = ["ResourceWatch", "Usage", "Watched"]

IDLE_INTERVAL: Final = 0.5
"""Seconds between two looks at a worker without calls."""
BUSY_INTERVAL: Final = 0.05
"""Seconds between two looks at a busy worker, at the most."""
TIGHT_INTERVAL: Final = 0.002
"""Seconds between two glances at a worker near a memory limit that the watch keeps."""

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
    tenancy: Tenancy | None
    """Its place in a cgroup, where it has one."""

    @property
    def limits(self) -> Limits: ...
    @property
    def is_busy(self) -> bool: ...
    def end(self, cause: Cause, detail: str = "") -> None: ...
    def check(self) -> None: ...
    def when_called(self, act: Callable[[], None], /) -> None: ...


@dataclass(slots=True)
class Usage:
    """What one worker uses, its child processes included."""

    memory: int = 0
    """Bytes at the last look; shared pages count in part where that matters."""
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
        self.at_rest = False
        """Whether the next look is far: a call must bring it closer."""
        tenancy = worker.tenancy
        self._processes = ProcessSampler(worker.process.pid)
        self._group = None if tenancy is None else GroupSampler(tenancy)
        self.keeps_memory = tenancy is None or "memory" not in tenancy.group.enforces
        """Whether its memory limit is the watch's to keep."""
        self._keeps_cpu = tenancy is None or "cpu" not in tenancy.group.enforces
        self._cpu_time = 0.0
        self._credit = 0.0  # seconds of CPU that it may still use before it is held
        self._looked_at: float | None = None
        self._next_whole_look = now

    @property
    def due(self) -> float:
        return min(self.next_look, self.held_until) if self.worker.held else self.next_look

    def needs_look(self, now: float, room: int) -> bool:
        """Whether a whole look is due; a glance at its memory puts it off while there is room."""
        if now >= self._next_whole_look or not self.keeps_memory:
            return True
        memory = self._processes.glance()
        room = min(room, self.worker.limits.memory) - memory
        if room < 0:
            return True
        self.usage.memory, self.usage.peak = memory, max(self.usage.peak, memory)
        self.next_look = min(now + _soonest(room), self._next_whole_look)
        return False

    def look(self, now: float, share: float, room: int) -> None:
        """Sample it, and set the time of the next look by what was found.

        `room` is what the total of all workers leaves it.
        """
        usage = self.usage
        limit = min(room, self.worker.limits.memory) if self.keeps_memory else room
        memory, cpu_time, usage.processes = self._sample(limit)
        if self._looked_at is not None:
            elapsed = max(now - self._looked_at, 1e-6)
            used = max(cpu_time - self._cpu_time, 0.0)
            usage.cpu = used / elapsed
            self._credit = min(self._credit + share * elapsed - used, _MAX_CREDIT * share)
        self._looked_at, self._cpu_time = now, cpu_time
        usage.memory, usage.peak = memory, max(usage.peak, memory)
        self.at_rest = not self.worker.is_busy and usage.cpu < _IDLE_CPU
        self._next_whole_look = now + (IDLE_INTERVAL if self.at_rest else BUSY_INTERVAL)
        self.next_look = self._next_whole_look
        if not self.at_rest:
            self.next_look = min(self.next_look, now + _soonest(limit - memory))

    def _sample(self, limit: int) -> Sample:
        if self._group is None:
            return self._processes.take(limit)
        try:
            return self._group.take(limit)
        except OSError:  # the group is removed: the worker is about to be told dead
            return Sample(self.usage.memory, self._cpu_time, 1)

    def stir(self, now: float) -> None:
        """A call begins: look at it as soon as it could have filled its memory."""
        self.at_rest = False
        soon = now + _soonest(self.worker.limits.memory - self.usage.memory)
        self.next_look = min(self.next_look, soon)

    def end(self, cause: Cause, reason: str) -> None:
        """Kill it and its child processes for the memory that they use."""
        if self._group is not None:
            self._processes.take(0)  # its child processes, which only now are asked for
        self.worker.end(cause, reason)
        self._processes.for_children(psutil.Process.kill)

    def hold(self, now: float, share: float) -> None:
        """Hold it to its share: by the kernel, or by a stop until the CPU time is earned."""
        worker = self.worker
        if not self._keeps_cpu and worker.tenancy is not None:
            worker.tenancy.group.limit_cpu(round(share, 2) or share)
        elif self._credit < 0 and not worker.held:
            self.held_until = now + min(-self._credit / share, _MAX_HOLD)
            worker.held = True
            worker.process.signal(signal.SIGSTOP)
            self._processes.for_children(psutil.Process.suspend)

    def release(self) -> None:
        """Let it run again."""
        self.worker.held = False
        self._processes.for_children(psutil.Process.resume)
        self.worker.process.signal(signal.SIGCONT)


class ResourceWatch:
    """Looks at all workers of a host, in the host's task `run`."""

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
        self._stirred: anyio.Event | None = None

    def usage(self, worker: Watched) -> Usage:
        """What a worker uses; all zero before the first look."""
        account = self._accounts.get(worker)
        return Usage() if account is None else account.usage

    async def run(self) -> None:
        """Look, and sleep until the next look, for ever."""
        while True:
            delay = self.look()
            self._stirred = anyio.Event()
            with anyio.move_on_after(delay):
                await self._stirred.wait()

    def _stir(self, account: _Account) -> None:
        account.stir(self._clock())
        if self._stirred is not None:
            self._stirred.set()

    def look(self) -> float:
        """Look at the workers whose turn it is. Returns the seconds until the next look."""
        now = self._clock()
        live = [w for w in self._workers() if w.process.pid > 0 and not w.process.ended]
        self._accounts = {w: self._accounts.get(w) or _Account(w, now) for w in live}
        accounts = self._accounts.values()
        shares = self._shares()
        for account in accounts:
            worker = account.worker
            if worker.held and now >= account.held_until:
                account.release()
            if now >= account.next_look:
                room = self._room(account)
                if account.needs_look(now, room):
                    worker.check()
                    account.look(now, shares[worker], room)
                    self._judge_memory(account)
                    if account.at_rest and account.keeps_memory:
                        worker.when_called(partial(self._stir, account))
            account.hold(now, shares[worker])
        self._judge_total_memory()
        next_look = min((account.due for account in accounts), default=now + IDLE_INTERVAL)
        return max(next_look - now, TIGHT_INTERVAL / 2)

    def _judge_memory(self, account: _Account) -> None:
        limit = account.worker.limits.memory
        usage = account.usage
        tenancy = account.worker.tenancy
        if account.keeps_memory and usage.memory > limit:
            peak = format_bytes(usage.peak)
            reason = f"memory limit {format_bytes(limit)} exceeded (peak {peak})"
            account.end(Cause.MEMORY, reason)
        elif tenancy is not None and (verdict := tenancy.memory_verdict()) is not None:
            # The kernel took a child process of the worker, or the worker, which we hear of next.
            account.end(*verdict)

    def _room(self, account: _Account) -> int:
        """What the total of all workers leaves this one."""
        limit = self._totals.memory
        if limit is None:
            return _UNBOUNDED
        others = sum(a.usage.memory for a in self._accounts.values() if a is not account)
        return max(limit - others, 0)

    def _judge_total_memory(self) -> None:
        limit = self._totals.memory
        used = sum(account.usage.memory for account in self._accounts.values())
        if limit is not None and used > limit:
            largest = max(self._accounts.values(), key=lambda account: account.usage.memory)
            largest.end(
                Cause.MEMORY,
                f"total memory limit {format_bytes(limit)} of all plugins exceeded "
                f"({format_bytes(used)}); this one used most, {format_bytes(largest.usage.memory)}",
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


_UNBOUNDED: Final = 1 << 62


def _soonest(room: int) -> float:
    """Seconds in which a worker could fill this much memory, as far as it makes sense to look."""
    return min(max(room / _GROWTH, TIGHT_INTERVAL), BUSY_INTERVAL)
