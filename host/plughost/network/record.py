"""What the audit keeps of one connection."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Connection", "Outcome"]


class Outcome(StrEnum):
    """How it ended."""

    DONE = "done"
    """Both sides had their say."""
    REFUSED = "refused"
    """What the worker wanted is not granted."""
    FAILED = "failed"
    """There was no connection to be had, or the server broke it."""
    CUT = "cut"
    """A limit ended it, or the end of the worker."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of a worker, or one name that it looked up and may not have."""

    plugin: str
    name: str
    """As granted; as asked for, when it is refused; empty when there was none."""
    port: int
    """0 for a name that was only looked up."""
    address: str
    """That was connected to; empty when it did not come to that."""
    outcome: Outcome
    reason: str
    """Why it was not `done`, in words; may quote what the worker sent, on one line."""
    bytes_up: int
    """From the worker to the server."""
    bytes_down: int
    seconds: float
