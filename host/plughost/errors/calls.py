"""Why a call has no result."""

from collections.abc import Sequence

from plughost.exits import WorkerExit
from plughost.units import format_seconds
from plughost_protocol import CodePlace, ErrorCode

from .root import PlughostError

__all__ = [
    "CallTimeout",
    "InvalidParams",
    "NotRunning",
    "Overloaded",
    "ProtocolViolation",
    "TooDeep",
    "ToolError",
    "WorkerDied",
]


class InvalidParams(PlughostError):
    """Raised when parameters do not fit the tool's schema. Nothing was sent.

    `problems` are sentences that begin with the path in the parameters.
    """

    code = ErrorCode.INVALID_PARAMS

    def __init__(self, tool: str, problems: Sequence[str]) -> None:
        super().__init__(f"parameters for {tool} do not fit: " + "; ".join(problems))
        self.tool = tool
        self.problems = tuple(problems)


class NotRunning(PlughostError):
    """Raised when the plugin is not running, and will not be within the call's deadline."""

    code = ErrorCode.NOT_RUNNING

    def __init__(self, plugin_id: str, state: str, reason: str = "") -> None:
        why = f" ({reason})" if reason else ""
        super().__init__(f"plugin {plugin_id!r} is not running: its state is {state}{why}")
        self.plugin_id = plugin_id
        self.state = state
        self.reason = reason


class Overloaded(PlughostError):
    """Raised at once when a bound is reached, instead of queueing without one. Try again later."""

    code = ErrorCode.OVERLOADED

    def __init__(self, plugin_id: str, what: str, limit: int) -> None:
        who = f"plugin {plugin_id!r}" if plugin_id else "the plugin"
        super().__init__(f"{who} has {what} up to its limit of {limit}: try again later")
        self.plugin_id = plugin_id
        self.limit = limit


class TooDeep(PlughostError):
    """Raised when tools call tools in a cycle, or deeper than the host allows."""

    code = ErrorCode.TOO_DEEP

    def __init__(self, chain: Sequence[str], limit: int) -> None:
        path = " -> ".join(chain)
        cyclic = len(set(chain)) < len(chain)
        why = "it goes round in a cycle" if cyclic else f"the limit is {limit} calls deep"
        super().__init__(f"{path}: {why}")
        self.chain = tuple(chain)


class CallTimeout(PlughostError):
    """Raised when a call's deadline passed. The worker was told to stop it.

    `timeout` and `host_wait` are seconds; `idle` tells whether it was the time without progress
    that ran out. `stack` holds the Python stacks of the worker's threads at the deadline, as far
    as it still gave them.
    """

    code = ErrorCode.TIMEOUT

    def __init__(
        self,
        tool: str,
        timeout: float,
        host_wait: float = 0.0,
        stack: str = "",
        *,
        idle: bool = False,
    ) -> None:
        late = "reported no progress for" if idle else "did not answer within"
        waited = f"; it waited {format_seconds(host_wait)} for the host" if host_wait else ""
        super().__init__(f"{tool} {late} {format_seconds(timeout)}{waited}")
        self.tool = tool
        self.timeout = timeout
        self.host_wait = host_wait
        self.stack = stack
        self.idle = idle


class ToolError(PlughostError):
    """Raised when the tool's own code raised. The worker lives on.

    `type`, `traceback` and `places`, the lines of code that it came through, are the plugin's, and
    as trustworthy as the plugin.
    """

    def __init__(
        self,
        tool: str,
        code: str,
        message: str,
        type: str = "",
        traceback: str = "",
        places: tuple[CodePlace, ...] = (),
    ) -> None:
        super().__init__(f"{tool}: {message}")
        self.tool = tool
        self.code = code
        self.message = message
        self.type = type
        self.traceback = traceback
        self.places = places


class WorkerDied(PlughostError):
    """Raised when the worker died with the call open. `exit` says why.

    `outcome_unknown` tells whether the call had been sent, and so may have had its effect.
    """

    def __init__(self, plugin_id: str, exit: WorkerExit, *, outcome_unknown: bool) -> None:
        effect = "; whether the call took effect is unknown" if outcome_unknown else ""
        super().__init__(f"the worker of plugin {plugin_id!r} died: {exit}{effect}")
        self.plugin_id = plugin_id
        self.exit = exit
        self.outcome_unknown = outcome_unknown
        self.code = ErrorCode.OUTCOME_UNKNOWN if outcome_unknown else ErrorCode.WORKER_DIED


class ProtocolViolation(PlughostError):
    """Raised when the other side broke the protocol."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"protocol violation: {detail}")
        self.detail = detail
