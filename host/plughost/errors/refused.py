"""What a plugin asks for and does not get."""

from collections.abc import Sequence

from plughost.units import format_seconds
from plughost_protocol import ErrorCode

from .root import PlughostError

__all__ = ["PermissionDenied", "QuotaExceeded", "RateLimited", "Superseded", "UndeclaredDependency"]


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


class Superseded(PlughostError):
    """Raised when a worker registers something after another one has taken its place, or while
    it is tried out beside the one that serves."""

    code = ErrorCode.NOT_RUNNING

    def __init__(self, plugin_id: str, what: str, *, on_trial: bool = False) -> None:
        why = (
            f"this version of plugin {plugin_id!r} is on trial, and answers calls only: it may "
            "register this once it is promoted"
            if on_trial
            else f"plugin {plugin_id!r} was loaded anew, and this worker ends when its calls have "
            "ended"
        )
        super().__init__(f"{what} is refused: {why}")
        self.plugin_id = plugin_id
