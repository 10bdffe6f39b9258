"""What this machine and this user are, as far as a plan depends on it."""

import os
import platform
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from .landlock import LandlockFeatures, landlock_features

__all__ = ["Machine", "this_machine"]

# Behind the ids of users, services and containers (systemd's UIDS-GIDS), below the signed range.
_FIRST_ID: Final = 0x7000_0000
_IDS: Final = 0x0FFF_0000
_FEWEST_IDS: Final = 1000  # in a container's map, above which its highest are taken


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts, gathered once. A plan is computed from them without touching the system."""

    user: int
    group: int
    architecture: str
    landlock: LandlockFeatures
    id_map: tuple[tuple[int, int], ...] = ((0, 2**32 - 1),)
    """The user ids that exist here: first and count."""

    @property
    def is_root(self) -> bool:
        return self.user == 0

    def id_for(self, plugin_id: str) -> int | None:
        """An unprivileged user id of a plugin's own, always the same; None where there is none."""
        number = int.from_bytes(sha256(plugin_id.encode()).digest()[:8])
        for first, count in self.id_map:
            if first <= _FIRST_ID and first + count >= _FIRST_ID + _IDS:
                return _FIRST_ID + number % _IDS
        first, count = max(self.id_map, key=lambda part: part[1], default=(0, 0))
        if count < _FEWEST_IDS:
            return None
        most = min(count // 2, _IDS)  # the upper half: the lower has the system's users
        return first + count - most + number % most


@cache
def this_machine() -> Machine:
    """The machine that we run on, as the user that we are."""
    return Machine(
        user=os.geteuid(),
        group=os.getegid(),
        architecture=platform.machine(),
        landlock=landlock_features(),
        id_map=_id_map(),
    )


def _id_map() -> tuple[tuple[int, int], ...]:
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:
        return ()
    return tuple((int(first), int(count)) for first, _, count in map(str.split, lines))
