"""A plugin's scheduled tasks, as the host tells of them.

The struct is a msgpack map, so that a later version may add a field.
"""

from msgspec import Struct

__all__ = ["TaskInfo"]


class TaskInfo(Struct, frozen=True, kw_only=True):
    """A task, as it stands. Times are seconds since the epoch, None where there is none."""

    id: str
    name: str
    schedule: str
    """In words: `every 60 s`, `0 9 * * * (Europe/Oslo)`."""
    next_run: float | None
    last_run: float | None
    """When the last run began."""
    last_error: str
    """Empty where the last run went well."""
    runs: int
    """That have ended, well or not."""
    failures: int
    skipped: int
    """Runs that were due and not made: the former one was still running, or they were missed."""
    running: int
    waiting: int
    """Runs that wait for their turn, or for the plugin's worker."""
