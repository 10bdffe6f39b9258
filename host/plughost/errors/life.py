"""Why a plugin is not started, and why a command on it fails."""

from collections.abc import Sequence
from typing import Final

from plughost.exits import WorkerExit
from plughost.units import format_seconds
from plughost_protocol import ErrorCode

from .root import PlughostError

__all__ = ["CommandTimeout", "StartFailed", "StillNeeded"]


STILL_NEEDED: Final = "still_needed"
"""The error code of a plugin that cannot be unloaded, since others need it."""


class StartFailed(PlughostError):
    """Raised when a plugin could not be started. `exit` says how its worker ended."""

    code = ErrorCode.LOAD_FAILED

    def __init__(self, plugin_id: str, reason: str, exit: WorkerExit | None = None) -> None:
        super().__init__(f"plugin {plugin_id!r} did not start: {reason}")
        self.plugin_id = plugin_id
        self.reason = reason
        self.exit = exit

    @property
    def traceback(self) -> str:
        """The plugin's own, where its code raised."""
        return "" if self.exit is None else self.exit.traceback


class CommandTimeout(PlughostError):
    """Raised when a command on a plugin did not end by its deadline, and was given up.

    `under_way` is the command of somebody else that it has waited for in vain; empty where it was
    this command itself that took too long.
    """

    code = ErrorCode.TIMEOUT

    def __init__(self, plugin_id: str, command: str, timeout: float, under_way: str = "") -> None:
        seconds = format_seconds(timeout)
        why = f"did not end within {seconds}, and was given up"
        if under_way:
            why = f"was not begun within {seconds}: {under_way!r} is under way"
        super().__init__(f"{command!r} of plugin {plugin_id!r} {why}")
        self.plugin_id = plugin_id
        self.command = command
        self.timeout = timeout
        self.under_way = under_way


class StillNeeded(PlughostError):
    """Raised when a plugin that others need is to be unloaded. `needed_by` are their ids."""

    code = STILL_NEEDED

    def __init__(self, plugin_id: str, needed_by: Sequence[str]) -> None:
        super().__init__(
            f"plugin {plugin_id!r} is needed by {', '.join(needed_by)}: unload them first, or let "
            "cascade take them along"
        )
        self.plugin_id = plugin_id
        self.needed_by = tuple(needed_by)
