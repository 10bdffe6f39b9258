"""Errors as people read them: what, why, and what to type next."""

from collections.abc import Mapping
from typing import Final

from plughost.errors import ConfigError, UnknownPlugin
from plughost_protocol import ErrorCode

from .exit_codes import HOST_GONE, STILL_NEEDED, USAGE, ExitCode, exit_code_of

__all__ = ["CommandFailed", "Problem", "problem_of"]

_NEXT: Final[dict[str, str]] = {
    HOST_GONE: "plughost list, to see whether a host runs",
    ErrorCode.INVALID_PARAMS: "plughost tools --json, for the schema of each tool",
    ErrorCode.LOAD_FAILED: "mend that, then the same again",
    ErrorCode.NOT_RUNNING: "plughost list, for the state of each plugin",
    ErrorCode.OUTCOME_UNKNOWN: "plughost list, to see why; then call it again if that is safe",
    ErrorCode.OVERLOADED: "try again in a moment",
    STILL_NEEDED: "the same with --cascade, which unloads them, too",
    ErrorCode.TIMEOUT: "give it longer with --timeout SECONDS",
    ErrorCode.TOOL_ERROR: "add --debug before the command, for the plugin's traceback",
    ErrorCode.UNKNOWN_METHOD: "plughost tools, for all tools that there are",
    ErrorCode.UNKNOWN_USER: "plughost users list, for all users that there are",
    ErrorCode.WORKER_DIED: "plughost list, to see why",
}
_UNKNOWN_PLUGIN: Final = "plughost list, for all plugins that there are"


class Problem:
    """One error: what happened, why, and what to type next. All but the first may be empty."""

    def __init__(
        self,
        what: str,
        why: str = "",
        then: str = "",
        *,
        code: str = USAGE,
        details: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        self.what = what
        self.why = why
        self.then = then
        self.code = code
        """An error code of the protocol's or of the command's own."""
        self.details = details
        """A traceback or stacks, shown with --debug."""
        self.facts = facts or {}
        """What else a program is told."""

    @property
    def exit_code(self) -> ExitCode:
        return exit_code_of(self.code)

    def as_json(self) -> dict[str, object]:
        """What `--json` writes to stderr."""
        facts = {"message": self.what, "why": self.why, "next": self.then, "details": self.details}
        return {
            "error": {"code": self.code, "exit_code": int(self.exit_code)}
            | {name: text for name, text in facts.items() if text}
            | dict(self.facts)
        }


class CommandFailed(Exception):
    """Raised when a command cannot do what it was asked. Never shown as a traceback."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def problem_of(error: Exception) -> Problem:
    """The problem that an exception of the host's, or of another host's, stands for."""
    if isinstance(error, CommandFailed):
        return error.problem
    code = getattr(error, "code", ErrorCode.INTERNAL)
    details = getattr(error, "traceback", "") or getattr(error, "stack", "")
    then = "plughost config check" if isinstance(error, ConfigError) else _NEXT.get(code, "")
    # An error of another host's says so by the name of its type.
    named = getattr(error, "type", "") or type(error).__name__
    if code == ErrorCode.UNKNOWN_METHOD and named == UnknownPlugin.__name__:
        then = _UNKNOWN_PLUGIN
    if details and code == ErrorCode.LOAD_FAILED:
        then = _NEXT[ErrorCode.TOOL_ERROR]
    # With a traceback it is the plugin that was refused: no tool's schema helps against that.
    its_own = code in (ErrorCode.INVALID_PARAMS, ErrorCode.UNKNOWN_METHOD)
    if details and (its_own or exit_code_of(code) is ExitCode.TOOL_ERROR):
        then = _NEXT[ErrorCode.TOOL_ERROR]
    return Problem(str(error), then=then, code=code, details=details)
