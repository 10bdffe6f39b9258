"""The root of all errors, and the application's own mistake."""

from plughost_protocol import ErrorCode

__all__ = ["HostMisuse", "PlughostError"]


class PlughostError(Exception):
    """The root of every error that plughost raises itself."""

    code: str = ErrorCode.INTERNAL
    """The error code that stands for it on the wire."""


class HostMisuse(PlughostError):
    """Raised when the application uses the host in a way that cannot work."""
