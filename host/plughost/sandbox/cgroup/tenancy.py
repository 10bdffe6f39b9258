"""One worker's time in a group, whose counters its predecessors have moved."""

from plughost.exits import Cause
from plughost.units import format_bytes

from .group import Cgroup

__all__ = ["Tenancy"]


class Tenancy:
    """Made before the worker is spawned. Tells whether memory was what ended it."""

    def __init__(self, group: Cgroup, memory_limit: int) -> None:
        self.group = group
        self.residents = 0
        """Processes that are in the group without being the worker's: the template's."""
        self._memory_limit = memory_limit
        self._enforces_memory = "memory" in group.enforces
        if self._enforces_memory:
            group.forget_peak()
            self._kills, self._hits = group.oom_kills(), group.limit_hits()

    def is_inside(self, pid: int) -> bool:
        """Whether the worker is in the group: the child of a template that is was born there."""
        inside = set(self.group.pids())
        self.residents = len(inside - {pid})
        return pid in inside

    def admit(self, pid: int) -> None:
        """Move the worker in, which takes as long as `Cgroup.add`. Raises `CgroupError`."""
        self.group.add(pid)
        self.is_inside(pid)

    def memory_verdict(self) -> tuple[Cause, str] | None:
        """Why the kernel has killed in the group since then; None if it has not."""
        if not self._enforces_memory:
            return None
        try:
            return self._judge()
        except FileNotFoundError:  # the group is removed
            return None

    def _judge(self) -> tuple[Cause, str] | None:
        if self.group.oom_kills() == self._kills:
            return None
        limit = self._memory_limit
        if self.group.limit_hits() == self._hits:  # with oom_score_adj 1000 it is the first to go
            return Cause.SIGNALLED, "killed by the kernel: the machine was out of memory, not it"
        peak = max(self.group.memory_peak(), limit)
        return (
            Cause.MEMORY,
            f"memory limit {format_bytes(limit)} exceeded (peak {format_bytes(peak)})",
        )
