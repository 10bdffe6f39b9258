"""What can come of a plugin's request other than a response."""

from plughost.errors import PlughostError
from plughost.units import format_seconds
from plughost_protocol import ErrorCode

__all__ = ["HttpError", "HttpFailed", "HttpRefused", "HttpTimeout", "HttpTooLarge"]


class HttpError(PlughostError):
    """Raised when there is no response. Not raised for a status such as 404."""


class HttpRefused(HttpError):
    """Raised when the host does not make the request, or does not follow where it leads."""

    code = "http_refused"


class HttpFailed(HttpError):
    """Raised when the server is not found, does not answer, or answers what is no HTTP."""

    code = "http_failed"


class HttpTooLarge(HttpError):
    """Raised when a request, a response or a number of them is over its limit."""

    code = "http_too_large"


class HttpTimeout(HttpError):
    """Raised when the time for the request ran out."""

    code = ErrorCode.TIMEOUT

    def __init__(self, what: str, timeout: float) -> None:
        super().__init__(f"{what} within {format_seconds(timeout)}")
        self.timeout = timeout
