"""What can go wrong, by whose fault it is. Exceptions take facts and write their own sentence."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from plughost_protocol import ErrorCode

from .exits import WorkerExit
from .units import format_seconds

__all__ = [
    "CallTimeout",
    "CommandTimeout",
    "ConfigError",
    "HostMisuse",
    "InvalidConfig",
    "InvalidParams",
    "ManifestError",
    "NotRunning",
    "Overloaded",
    "PermissionDenied",
    "PlughostError",
    "ProtocolViolation",
    "QuotaExceeded",
    "RateLimited",
    "StartFailed",
    "StillNeeded",
    "Superseded",
    "TooDeep",
    "ToolError",
    "UndeclaredDependency",
    "UnknownPlugin",
    "UnknownService",
    "UnknownTool",
    "WorkerDied",
]


STILL_NEEDED: Final = "still_needed"
"""The error code of a plugin that cannot be unloaded, since others need it."""


class PlughostError(Exception):
    """The root of every error that plughost raises itself."""

    code: str = ErrorCode.INTERNAL
    """The error code that stands for it on the wire."""


class HostMisuse(PlughostError):
    """Raised when the application uses the host in a way that cannot work."""


class ConfigError(PlughostError):
    """Raised when a configuration file has a mistake, or could be somebody else's doing.

    `path` is the file, or the name of an environment variable or an option. `line` and `column`
    count from 1, and are 0 where they are not known. `others` are further mistakes.
    """

    def __init__(
        self,
        path: Path | str,
        problem: str,
        line: int = 0,
        column: int = 0,
        others: "Sequence[ConfigError]" = (),
    ) -> None:
        place = f"{path}:{line}:{column}" if line else str(path)
        super().__init__("\n".join([f"{place}: {problem}", *map(str, others)]))
        self.path = path
        self.problem = problem
        self.line = line
        self.column = column
        self.others = tuple(others)


class InvalidConfig(PlughostError):
    """Raised when new values do not fit a plugin's `config_schema`. No plugin got any.

    `problems` has a sentence for each plugin whose values do not fit.
    """

    code = ErrorCode.INVALID_PARAMS

    def __init__(self, problems: Mapping[str, str]) -> None:
        told = "; ".join(f"plugin {name!r}: {problem}" for name, problem in problems.items())
        super().__init__(f"the configuration does not fit, and nothing was changed: {told}")
        self.problems = dict(problems)


class ManifestError(PlughostError):
    """Raised when a plugin's manifest cannot be accepted. `problems` holds each reason.

    `marks` holds the line and the column of each, from 1; 0 where there is none.
    """

    def __init__(
        self, path: Path, problems: Sequence[str], marks: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.path = path
        self.problems = tuple(problems)
        self.marks = tuple(marks) or ((0, 0),) * len(problems)
        told = [
            f"{problem} (line {line}, column {column})" if line else problem
            for problem, (line, column) in zip(self.problems, self.marks, strict=True)
        ]
        super().__init__(f"{path}: " + "; ".join(told))

    def located(self) -> list[str]:
        """Each problem behind its file, line and column, as compilers write them."""
        return [
            f"{self.path}:{line}:{column}: {problem}" if line else f"{self.path}: {problem}"
            for problem, (line, column) in zip(self.problems, self.marks, strict=True)
        ]


class UnknownPlugin(PlughostError):
    """Raised when no plugin has this id."""

    code = ErrorCode.UNKNOWN_METHOD

    def __init__(self, plugin_id: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no plugin {plugin_id!r}{_hint(plugin_id, known)}")
        self.plugin_id = plugin_id


class UnknownTool(PlughostError):
    """Raised when no plugin offers this tool."""

    code = ErrorCode.UNKNOWN_METHOD

    def __init__(self, tool: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no tool {tool!r}{_hint(tool, known)}")
        self.tool = tool


class UnknownService(PlughostError):
    """Raised when no plugin provides this service, or when it has no such `method`."""

    code = ErrorCode.UNKNOWN_METHOD

    def __init__(self, service: str, known: Iterable[str], method: str = "") -> None:
        what = f"service {service!r} has no method {method!r}" if method else ""
        hint = _hint(method or service, known)
        super().__init__(f"{what or f'there is no service {service!r}'}{hint}")
        self.service = service
        self.method = method


class UndeclaredDependency(PlughostError):
    """Raised when a plugin uses a service of a `provider` that it does not depend on."""

    code = ErrorCode.UNDECLARED_DEPENDENCY

    def __init__(
        self, plugin_id: str, service: str, provider: str, dependencies: Sequence[str]
    ) -> None:
        line = ", ".join(f'"{name}"' for name in [*dependencies, provider])
        super().__init__(
            f"plugin {plugin_id!r} may not use the service {service!r} of plugin {provider!r}: "
            f'it does not depend on it. Write "dependencies": [{line}] in its manifest'
        )
        self.plugin_id = plugin_id
        self.service = service
        self.provider = provider


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


class PermissionDenied(PlughostError):
    """Raised when a plugin lacks the permission for what it asks.

    `asked` tells whether its manifest asks for it, and only the operator's grant is missing.
    `remedy` is the command that grants it.
    """

    code = ErrorCode.PERMISSION_DENIED

    def __init__(
        self, plugin_id: str, permission: str, action: str, *, asked: bool, remedy: str
    ) -> None:
        why = (
            f"which is not granted: {remedy}"
            if asked
            else f"which its manifest does not ask for: add it there, then {remedy}"
        )
        super().__init__(
            f"plugin {plugin_id!r} may not {action}: it lacks the permission {permission!r}, {why}"
        )
        self.plugin_id = plugin_id
        self.permission = permission
        self.asked = asked
        self.remedy = remedy


class Overloaded(PlughostError):
    """Raised at once when a bound is reached, instead of queueing without one. Try again later."""

    code = ErrorCode.OVERLOADED

    def __init__(self, plugin_id: str, what: str, limit: int) -> None:
        who = f"plugin {plugin_id!r}" if plugin_id else "the plugin"
        super().__init__(f"{who} has {what} up to its limit of {limit}: try again later")
        self.plugin_id = plugin_id
        self.limit = limit


class QuotaExceeded(PlughostError):
    """Raised when a plugin would keep more than it may. Nothing was changed.

    `would_be` is what there would be of `what`, and `limit` is what it may have.
    """

    code = ErrorCode.QUOTA_EXCEEDED

    def __init__(self, plugin_id: str, what: str, would_be: int, limit: int, setting: str) -> None:
        super().__init__(
            f"plugin {plugin_id!r} would have {would_be:,} {what}, and may have {limit:,}: "
            f"delete some first, or let the operator raise {setting}"
        )
        self.plugin_id = plugin_id
        self.what = what
        self.would_be = would_be
        self.limit = limit


class RateLimited(PlughostError):
    """Raised when a plugin asks a service of the host too often. Nothing was done.

    `retry_after` is the time in seconds until the next operation is free.
    """

    code = ErrorCode.RATE_LIMITED

    def __init__(self, plugin_id: str, service: str, retry_after: float) -> None:
        super().__init__(
            f"plugin {plugin_id!r} asks {service!r} too often: "
            f"try again in {format_seconds(retry_after)}, or let the operator raise its Rates"
        )
        self.plugin_id = plugin_id
        self.service = service
        self.retry_after = retry_after


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

    `type` and `traceback` are the plugin's, and as trustworthy as the plugin.
    """

    def __init__(
        self,
        tool: str,
        code: str,
        message: str,
        type: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(f"{tool}: {message}")
        self.tool = tool
        self.code = code
        self.message = message
        self.type = type
        self.traceback = traceback


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


class StartFailed(PlughostError):
    """Raised when a plugin could not be started. `exit` says how its worker ended."""

    code = ErrorCode.LOAD_FAILED

    def __init__(self, plugin_id: str, reason: str, exit: WorkerExit | None = None) -> None:
        super().__init__(f"plugin {plugin_id!r} did not start: {reason}")
        self.plugin_id = plugin_id
        self.reason = reason
        self.exit = exit


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


class Superseded(PlughostError):
    """Raised when a worker registers something after another one has taken its place."""

    code = ErrorCode.NOT_RUNNING

    def __init__(self, plugin_id: str, what: str) -> None:
        super().__init__(
            f"{what} is refused: plugin {plugin_id!r} was loaded anew, and this worker ends when "
            "its calls have ended"
        )
        self.plugin_id = plugin_id


def _hint(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if near := get_close_matches(name, names, n=1):
        return f"; did you mean {near[0]!r}?"
    return f"; there are: {', '.join(names[:10])}" if names else "; there are none"
