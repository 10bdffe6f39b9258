"""Which protocol versions there are, and which one two sides share."""

from typing import Final

from .errors import VersionMismatch

__all__ = ["VERSIONS", "negotiate"]

VERSIONS: Final = (1, 1)
"""The oldest and the newest version that this package speaks."""


def negotiate(worker: tuple[int, int], host: tuple[int, int] = VERSIONS) -> int:
    """The newest version that both sides speak. Raises `VersionMismatch` where there is none."""
    newest = min(worker[1], host[1])
    if newest < max(worker[0], host[0]):
        raise VersionMismatch(worker, host)
    return newest
