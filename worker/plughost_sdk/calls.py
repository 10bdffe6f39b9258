"""The call that a handler is running for."""

from contextvars import ContextVar
from typing import Final

from .errors import CallCancelled

__all__ = ["CurrentCall", "current_call"]


class CurrentCall:
    """One call in flight: who asked, until when, and whether the caller still wants it."""

    __slots__ = ("caller", "cancelled", "deadline", "id", "request_id", "tool", "trace", "user_id")

    def __init__(
        self,
        id: int,
        tool: str,
        *,
        deadline: float | None = None,
        caller: str = "",
        user_id: str = "",
        request_id: str = "",
        trace: str = "",
    ) -> None:
        self.id = id
        self.tool = tool
        self.deadline = deadline
        """On the clock of `time.monotonic()`; None without one."""
        self.caller = caller
        self.user_id = user_id
        self.request_id = request_id
        self.trace = trace
        self.cancelled = False
        """Set when the caller took the call back: a blocking tool should look now and then."""

    def check_cancelled(self) -> None:
        """Raise `CallCancelled` if the caller took the call back."""
        if self.cancelled:
            raise CallCancelled

    def __repr__(self) -> str:
        return f"<CurrentCall {self.id} {self.tool}{' cancelled' if self.cancelled else ''}>"


running_call: Final[ContextVar[CurrentCall]] = ContextVar("plughost_call")


def current_call() -> CurrentCall:
    """The call that this code runs for. Raises `LookupError` outside of one."""
    return running_call.get()
