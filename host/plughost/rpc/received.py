"""What a worker says beside the values of calls, decoded within its bounds."""

from contextlib import suppress
from typing import Any, Final

import msgspec

from plughost.errors import ToolError
from plughost.text import clean
from plughost_protocol import MAX_LOG_RECORD, Error, Failure, LogRecord

__all__ = ["failure_in", "log_record_in", "tool_error"]

_MAX_TYPE: Final = 200  # characters
_MAX_TRACEBACK: Final = 50_000  # characters
_UNDECODABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def log_record_in(params: Any) -> LogRecord:
    """The record of a notification. Raises `ValueError`, in words."""
    size = memoryview(params).nbytes
    if size > MAX_LOG_RECORD:
        raise ValueError(f"a log record of {size} bytes")
    try:
        return msgspec.msgpack.decode(params, type=LogRecord)
    except _UNDECODABLE as exc:
        raise ValueError(f"a log record: {exc}") from exc


def failure_in(message: Error) -> Failure:
    """What an error tells beside its message; nothing where that cannot be decoded."""
    with suppress(*_UNDECODABLE):
        return msgspec.msgpack.decode(message.data, type=Failure | None) or Failure()
    return Failure()


def tool_error(tool: str, message: Error) -> ToolError:
    """A worker's error as the caller of `tool` gets it."""
    failure = failure_in(message)
    return ToolError(
        tool,
        clean(message.code),
        clean(message.message),
        clean(failure.type[:_MAX_TYPE]),
        clean(failure.traceback[:_MAX_TRACEBACK]),
        tuple(failure.places),
    )
