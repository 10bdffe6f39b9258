"""What the command's exit code says, and which error has which."""

from enum import IntEnum
from typing import Final

from plughost_protocol import ErrorCode

__all__ = [
    "HOST_GONE",
    "SIGNATURE",
    "STILL_NEEDED",
    "UNREACHABLE",
    "USAGE",
    "ExitCode",
    "exit_code_of",
]


class ExitCode(IntEnum):
    """The exit codes of `plughost`. docs/cli.md holds the same table."""

    OK = 0
    GENERAL = 1
    USAGE = 2
    NOT_RUNNING = 3
    UNKNOWN = 4
    TOOL_ERROR = 5
    TIMEOUT = 6
    PERMISSION = 7
    SIGNATURE = 8
    WORKER_DIED = 9
    INTERRUPTED = 130


# Error codes of the command's own, beside those of the protocol.
USAGE: Final = "usage"
UNREACHABLE: Final = "host_unreachable"
HOST_GONE: Final = "host_gone"
SIGNATURE: Final = "signature"  # reserved
STILL_NEEDED: Final = "still_needed"

_EXIT_CODES: Final[dict[str, ExitCode]] = {
    USAGE: ExitCode.USAGE,
    UNREACHABLE: ExitCode.UNKNOWN,
    HOST_GONE: ExitCode.UNKNOWN,
    SIGNATURE: ExitCode.SIGNATURE,
    STILL_NEEDED: ExitCode.GENERAL,
    ErrorCode.CALL_REFUSED: ExitCode.PERMISSION,
    ErrorCode.CANCELLED: ExitCode.INTERRUPTED,
    ErrorCode.EVENT_REFUSED: ExitCode.PERMISSION,
    ErrorCode.HOOK_FAILED: ExitCode.NOT_RUNNING,
    ErrorCode.INTERNAL: ExitCode.GENERAL,
    ErrorCode.INVALID_PARAMS: ExitCode.USAGE,
    ErrorCode.LOAD_FAILED: ExitCode.NOT_RUNNING,
    ErrorCode.NO_REPLY: ExitCode.GENERAL,
    ErrorCode.NO_SUBSCRIBER: ExitCode.NOT_RUNNING,
    ErrorCode.NOT_RUNNING: ExitCode.NOT_RUNNING,
    ErrorCode.NOT_YOUR_EVENT: ExitCode.PERMISSION,
    ErrorCode.OUTCOME_UNKNOWN: ExitCode.WORKER_DIED,
    ErrorCode.OVERLOADED: ExitCode.GENERAL,
    ErrorCode.PERMISSION_DENIED: ExitCode.PERMISSION,
    ErrorCode.QUOTA_EXCEEDED: ExitCode.GENERAL,
    ErrorCode.RATE_LIMITED: ExitCode.GENERAL,
    ErrorCode.RESULT_INVALID: ExitCode.TOOL_ERROR,
    ErrorCode.RESULT_TOO_LARGE: ExitCode.TOOL_ERROR,
    ErrorCode.STORE_FAILED: ExitCode.GENERAL,
    ErrorCode.TIMEOUT: ExitCode.TIMEOUT,
    ErrorCode.TOO_DEEP: ExitCode.TOOL_ERROR,
    ErrorCode.TOOL_ERROR: ExitCode.TOOL_ERROR,
    ErrorCode.UNDECLARED_DEPENDENCY: ExitCode.PERMISSION,
    ErrorCode.UNKNOWN_METHOD: ExitCode.UNKNOWN,
    ErrorCode.UNKNOWN_TASK: ExitCode.UNKNOWN,
    ErrorCode.UNKNOWN_USER: ExitCode.UNKNOWN,
    ErrorCode.WORKER_DIED: ExitCode.WORKER_DIED,
}


def exit_code_of(error_code: str) -> ExitCode:
    """The exit code for an error code; one that a tool made up is the tool's error."""
    return _EXIT_CODES.get(error_code, ExitCode.TOOL_ERROR)
