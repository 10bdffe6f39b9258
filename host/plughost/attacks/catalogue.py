"""All attacks. Each proves itself against the host, and its control run proves the attack."""

from typing import Final

from . import granted as _granted
from .attack import Attack, Group
from .files import FILES
from .kernel import KERNEL
from .network import NETWORK
from .processes import PROCESSES
from .programs import PROGRAMS
from .proxy import PROXY
from .resources import RESOURCES
from .terminal import TERMINAL

__all__ = ["ATTACKS", "attacks_of"]

ATTACKS: Final[tuple[Attack, ...]] = (
    *FILES,
    *NETWORK,
    *PROCESSES,
    *TERMINAL,
    *PROGRAMS,
    *KERNEL,
    *RESOURCES,
    *PROXY,
)
del _granted  # its attacks stand in FILES


def attacks_of(group: Group | None = None, name: str = "") -> list[Attack]:
    """Those of a group, or the one of that name; all without either."""
    return [
        attack for attack in ATTACKS if group in (None, attack.group) and name in ("", attack.name)
    ]
