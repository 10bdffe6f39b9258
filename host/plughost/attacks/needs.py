"""What a control run takes, and whether this process has it."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .attack import Attack, Need

__all__ = ["missing"]

_CAP_SYS_RESOURCE: Final = 24  # linux/capability.h


def missing(attack: Attack) -> str:
    """Why the control run of an attack is not possible here, or nothing."""
    return next((why for need in attack.needs if (why := _CHECKS[need]())), "")


def _root() -> str:
    return "" if os.geteuid() == 0 else "only root could do it anyway"


def _ipv6() -> str:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as exc:
        return f"this machine has no IPv6: {exc.strerror}"
    return ""


def _raising_limits() -> str:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
    has = int(effective.split()[1], 16) >> _CAP_SYS_RESOURCE & 1
    return "" if has else "only root could do it anyway, with CAP_SYS_RESOURCE"


_CHECKS: Final[dict[Need, Callable[[], str]]] = {
    Need.ROOT: _root,
    Need.IPV6: _ipv6,
    Need.RAISING_LIMITS: _raising_limits,
}
