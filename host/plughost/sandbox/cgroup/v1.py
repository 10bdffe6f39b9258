"""A cgroup of version 1: one folder in each controller's own hierarchy."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from plughost.config import Limits
from plughost.units import KiB

from .group import PERIOD, TEMPLATE_PROCESSES, Cgroup, field, read, write

__all__ = ["CgroupV1"]

_ENFORCE: Final = {"memory": "memory", "cpu": "cpu", "pids": "processes"}

# Bytes that one charge may lack of the limit when it fails: the kernel's batch, with room.
_ONE_CHARGE: Final = 1024 * KiB


class CgroupV1(Cgroup):
    """`controllers` are its folders by controller: `memory`, `cpuacct`, and of `cpu`, `pids`."""

    def __init__(self, controllers: Mapping[str, Path]) -> None:
        enforces = [word for name, word in _ENFORCE.items() if name in controllers]
        super().__init__([controllers["memory"], *controllers.values()], enforces)
        self._memory = controllers["memory"]
        self._time = controllers["cpuacct"]
        self._cpu = controllers.get("cpu")
        self._processes = controllers.get("pids")
        self._period = PERIOD
        self._met_at = 0
        self._watermarks: list[Path] = []

    def set_limits(self, limits: Limits) -> None:
        # In this order: memory and swap together may not be less than memory alone.
        write(self._memory / "memory.limit_in_bytes", limits.memory)
        self._met_at = limits.memory - _ONE_CHARGE
        self._watermarks = [self._memory / "memory.max_usage_in_bytes"]
        if (self._memory / "memory.memsw.limit_in_bytes").exists():
            write(self._memory / "memory.memsw.limit_in_bytes", limits.memory)
            self._watermarks.append(self._memory / "memory.memsw.max_usage_in_bytes")
        else:  # the kernel does not count swap: then none of it
            write(self._memory / "memory.swappiness", 0)
        if self._processes is not None:
            write(self._processes / "pids.max", limits.processes + TEMPLATE_PROCESSES)
        if self._cpu is not None:
            self._set_cpu(limits.cpu)

    def memory(self) -> int:
        stat = self._memory / "memory.stat"
        # The cache holds shared memory and tmpfs too, which are no less used than the heap.
        pages = field(stat, b"total_rss") + field(stat, b"total_shmem")
        return pages + int(read(self._memory / "memory.kmem.usage_in_bytes"))

    def memory_peak(self) -> int:
        return int(read(self._memory / "memory.max_usage_in_bytes"))

    def oom_kills(self) -> int:
        return field(self._memory / "memory.oom_control", b"oom_kill")

    def limit_hits(self) -> int:
        # Not memory.failcnt, which Linux 6.18 leaves at 0.
        return int(any(int(read(path)) >= self._met_at for path in self._watermarks))

    def forget_peak(self) -> None:
        for path in self._watermarks:
            write(path, 0)

    def cpu_seconds(self) -> float:
        return int(read(self._time / "cpuacct.usage")) / 1e9

    def _write_cpu(self, quota: int, period: int) -> None:
        assert self._cpu is not None  # noqa: S101 - only where "cpu" is enforced
        if period != self._period:  # without a quota meanwhile: the old one may not fit it
            write(self._cpu / "cpu.cfs_quota_us", -1)
            write(self._cpu / "cpu.cfs_period_us", period)
            self._period = period
        try:
            write(self._cpu / "cpu.cfs_quota_us", quota)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            # More than the group above has, which is then the limit.
