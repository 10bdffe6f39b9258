"""Where a run took place: without it, no absolute number means anything."""

import os
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers import PEERS

__all__ = ["describe", "sentence"]


def describe(peers: Iterable[str]) -> dict[str, Any]:
    """The machine, its load now, and the versions of what these peers use."""
    names = [name for entry in PEERS if entry.name in set(peers) for name in entry.distributions]
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "load": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: found for name in names if (found := _version(name))},
    }


def sentence(machine: dict[str, Any]) -> str:
    """One line of it."""
    return (
        f"{machine['when']}  {machine['cpus']} x {machine['cpu']}, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load {machine['load'][0]}"
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
