"""The numbers of system calls, by machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from plughost.errors import PlughostError

from . import syscalls_aarch64, syscalls_x86_64

__all__ = ["MACHINES", "Machine", "UnsupportedMachine", "machine_named"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as a filter sees it."""

    name: str
    """As `platform.machine()` has it."""
    audit_arch: int
    """AUDIT_ARCH_* of linux/audit.h: which table a call's number belongs to."""
    numbers: Mapping[str, int]

    @property
    def end(self) -> int:
        """One more than the highest number in the table. What is newer is not known here."""
        return max(self.numbers.values()) + 1


class UnsupportedMachine(PlughostError):
    """Raised when a machine has no table of system calls here, so nothing can be filtered."""

    def __init__(self, machine: str) -> None:
        super().__init__(
            f"system calls cannot be filtered on {machine or 'this machine'}: the numbers are known"
            f" for {' and '.join(MACHINES)}; to run without this layer, set"
            " HostConfig(sandbox=Sandbox(without={'seccomp'})) or give --without seccomp"
        )
        self.machine = machine


MACHINES: Final[Mapping[str, Machine]] = {
    each.name: each
    for each in (
        Machine("x86_64", 0xC000_003E, syscalls_x86_64.NUMBERS),
        Machine("aarch64", 0xC000_00B7, syscalls_aarch64.NUMBERS),
    )
}


def machine_named(name: str) -> Machine:
    """The machine of this name. Raises `UnsupportedMachine`."""
    if name not in MACHINES:
        raise UnsupportedMachine(name)
    return MACHINES[name]
