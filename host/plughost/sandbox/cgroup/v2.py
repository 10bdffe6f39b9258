"""A cgroup of version 2: one folder for all controllers."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from plughost.config import Limits

from .group import TEMPLATE_PROCESSES, Cgroup, field, read, write

__all__ = ["CgroupV2"]


class CgroupV2(Cgroup):
    """What of `memory`, `cpu` and `processes` it `enforces`, its parent must have switched on."""

    def __init__(self, folder: Path, enforces: Iterable[str]) -> None:
        super().__init__([folder], enforces)

    def set_limits(self, limits: Limits) -> None:
        # Not memory.oom.group: the template lives here too, and is to outlive the worker.
        if "memory" in self.enforces:
            write(self.folder / "memory.max", limits.memory)
            with suppress(FileNotFoundError):  # a kernel that does not count swap
                write(self.folder / "memory.swap.max", 0)
        if "processes" in self.enforces:
            write(self.folder / "pids.max", limits.processes + TEMPLATE_PROCESSES)
        if "cpu" in self.enforces:
            self._set_cpu(limits.cpu)

    def memory(self) -> int:
        stat = self.folder / "memory.stat"
        return sum(field(stat, name) for name in (b"anon", b"shmem", b"kernel"))

    def memory_peak(self) -> int:
        with suppress(FileNotFoundError):  # before Linux 5.19
            return int(read(self.folder / "memory.peak"))
        return 0

    def oom_kills(self) -> int:
        return field(self.folder / "memory.events", b"oom_kill")

    def limit_hits(self) -> int:
        return field(self.folder / "memory.events", b"oom")

    def cpu_seconds(self) -> float:
        return field(self.folder / "cpu.stat", b"usage_usec") / 1e6  # there without controllers too

    def kill(self) -> None:
        try:
            write(self.folder / "cgroup.kill", 1)
        except FileNotFoundError:  # before Linux 5.14
            super().kill()

    def _write_cpu(self, quota: int, period: int) -> None:
        write(self.folder / "cpu.max", f"{quota} {period}")
