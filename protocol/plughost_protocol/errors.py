"""The error codes that travel in `Error` messages, and the errors of the protocol itself."""

from enum import StrEnum

__all__ = ["ErrorCode", "FrameTooLarge", "MalformedMessage", "ProtocolError", "VersionMismatch"]


class ErrorCode(StrEnum):
    """Why a call has no value. A tool may add codes of its own; these have a fixed meaning."""

    CALL_REFUSED = "call_refused"
    """A hook refuses the call of the tool."""
    CANCELLED = "cancelled"
    """The caller took the call back, and the handler stopped."""
    EVENT_REFUSED = "event_refused"
    """The event is the host's own to emit, or a hook refuses it."""
    HOOK_FAILED = "hook_failed"
    """A hook without which nothing passes has failed."""
    INTERNAL = "internal"
    """The side that answered has a bug."""
    INVALID_PARAMS = "invalid_params"
    """The parameters do not fit the schema."""
    LOAD_FAILED = "load_failed"
    """The plugin could not be imported, or its `on_load` raised."""
    NO_REPLY = "no_reply"
    """Everybody who received the event has failed at it."""
    NO_SUBSCRIBER = "no_subscriber"
    """Nobody receives the event, so that nobody can reply."""
    NOT_RUNNING = "not_running"
    """The plugin that should answer is not running."""
    NOT_YOUR_EVENT = "not_your_event"
    """The plugin did not receive the event that it replies to."""
    OUTCOME_UNKNOWN = "outcome_unknown"
    """The call was sent and its worker died: it may or may not have had its effect."""
    OVERLOADED = "overloaded"
    """A bound on calls in flight, frames or bytes is reached: try again later."""
    PERMISSION_DENIED = "permission_denied"
    """The caller lacks a permission, which `data.permission` names."""
    QUOTA_EXCEEDED = "quota_exceeded"
    """The plugin would keep more than it may: it should delete something first."""
    RATE_LIMITED = "rate_limited"
    """The plugin asks too often; `data.retry_after` says how many seconds it should wait."""
    RESULT_INVALID = "result_invalid"
    """The handler returned what msgpack cannot hold, or what its output schema refuses."""
    RESULT_TOO_LARGE = "result_too_large"
    """The result does not fit in a frame, or holds too many values."""
    STORE_FAILED = "store_failed"
    """Where the host keeps what was asked for cannot be used: damaged, full or gone."""
    TIMEOUT = "timeout"
    """The deadline passed."""
    TOO_DEEP = "too_deep"
    """Tools called tools in a cycle, or deeper than the host allows."""
    TOOL_ERROR = "tool_error"
    """The tool's code raised an exception."""
    UNDECLARED_DEPENDENCY = "undeclared_dependency"
    """The caller uses what a plugin provides that its manifest does not depend on."""
    UNKNOWN_METHOD = "unknown_method"
    """Nobody answers to this method name."""
    UNKNOWN_TASK = "unknown_task"
    """The plugin has no scheduled task with this id."""
    UNKNOWN_USER = "unknown_user"
    """There is no user with this id, or none was named."""
    WORKER_DIED = "worker_died"
    """The worker died before the call was sent."""


class ProtocolError(Exception):
    """Raised when bytes break the rules of the protocol. Not raised for a call that fails."""


class FrameTooLarge(ProtocolError):
    """Raised when an announced frame is longer than the limit, before anything is allocated."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"a frame of {length} bytes is over the limit of {limit} bytes")
        self.length = length
        self.limit = limit


class MalformedMessage(ProtocolError):
    """Raised when a frame does not hold a message. `reason` names the offending field."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed message: {reason}")
        self.reason = reason


class VersionMismatch(ProtocolError):
    """Raised when two sides share no protocol version. The sentence names the remedy."""

    def __init__(self, worker: tuple[int, int], host: tuple[int, int]) -> None:
        remedy = (
            "install a newer plughost in the host"
            if worker[0] > host[1]
            else "install a newer plughost SDK in the plugin"
        )
        super().__init__(
            f"the worker speaks protocol {_span(worker)}, this host speaks {_span(host)}: {remedy}"
        )
        self.worker = worker
        self.host = host


def _span(versions: tuple[int, int]) -> str:
    low, high = versions
    return str(low) if low == high else f"{low} to {high}"
