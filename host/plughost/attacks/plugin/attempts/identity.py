"""Becoming somebody else, and allowing oneself more."""

import ctypes
import os
import resource
from pathlib import Path
from typing import Any, Final

from .native import Answer, call, check, libc, ways

__all__: list[str] = []

Target = dict[str, Any]

_CAPABILITY_VERSION: Final = 0x20080522


def become_root(_: Target) -> Answer:
    def capabilities() -> str:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        data = (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 2, 0, *[0xFFFFFFFF] * 2, 0)
        check("capset", libc.capset(ctypes.byref(header), ctypes.byref(data)))
        return "set all capabilities"

    def set_ids() -> str:
        os.setresuid(0, 0, 0)
        return f"uid {os.getuid()}"

    return ways(
        setuid=lambda: call("setuid", 0),
        setresuid=set_ids,
        groups=lambda: os.setgroups([0]),
        capabilities=capabilities,
    )


def use_capabilities(_: Target) -> Answer:
    def effective() -> str:
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("CapEff"))
        if int(line.split()[1], 16) == 0:
            raise PermissionError(1, "none")
        return line

    def by_call() -> str:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        data = (ctypes.c_uint32 * 6)()
        check("capget", libc.capget(ctypes.byref(header), ctypes.byref(data)))
        if not (data[0] or data[3]):
            raise PermissionError(1, "none")
        return f"effective {data[3]:x}{data[0]:08x}"

    return ways(proc=effective, capget=by_call)


def raise_own_limits(_: Target) -> Answer:
    kinds = {
        "files": resource.RLIMIT_NOFILE,
        "core": resource.RLIMIT_CORE,
        "memory": resource.RLIMIT_AS,
        "size": resource.RLIMIT_FSIZE,
        "processes": resource.RLIMIT_NPROC,
        "locked": resource.RLIMIT_MEMLOCK,
        "queues": resource.RLIMIT_MSGQUEUE,
    }

    def more(kind: int) -> str:
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY:
            raise PermissionError(1, "there is no limit to raise")
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
        except ValueError as exc:  # what Python makes of EPERM
            raise PermissionError(1, "setrlimit") from exc
        return f"{hard + 1}"

    return ways(**{name: lambda kind=kind: more(kind) for name, kind in kinds.items()})


def run_ahead_of_all(_: Target) -> Answer:
    """A real-time priority: one loop, and the machine stands still."""
    return ways(
        fifo=lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
        nice=lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
        disk=lambda: call("ioprio_set", 1, 0, 1 << 13),  # IOPRIO_CLASS_RT
    )
