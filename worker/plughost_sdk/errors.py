"""What goes wrong between a tool and the host, from the plugin's side."""

__all__ = [
    "CallCancelled",
    "HostError",
    "PermissionDenied",
    "PluginMistake",
    "RateLimited",
    "ToolError",
]


class ToolError(Exception):
    """Raise it to end a call with a message, and a code that callers can act on.

    Any other exception ends the call too; it is then reported by its type and text.
    """

    def __init__(self, message: str, *, code: str = "tool_error") -> None:
        super().__init__(message)
        self.code = code


class HostError(Exception):
    """Raised when the host answers a request of the plugin with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """One of the protocol's error codes, or the code of the tool that was called."""


class PermissionDenied(HostError):
    """Raised when the plugin lacks a permission for what it asks of the host."""

    def __init__(self, message: str, permission: str) -> None:
        super().__init__("permission_denied", message)
        self.permission = permission


class RateLimited(HostError):
    """Raised when the plugin asks the host too often. `retry_after` is the time to wait, in s."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__("rate_limited", message)
        self.retry_after = retry_after


class CallCancelled(Exception):
    """Raised by `current_call().check_cancelled()` when the caller took the call back."""

    def __init__(self) -> None:
        super().__init__("the caller no longer wants the outcome")


class PluginMistake(Exception):
    """Raised when a plugin declares what cannot be: a tool twice, a type without a schema."""
