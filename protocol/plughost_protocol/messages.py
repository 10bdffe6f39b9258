"""The messages: one msgspec `Struct` each, on the wire a msgpack array that starts with its tag.

A value that somebody else chose (parameters, results) stays `Raw`, undecoded, until the code
that knows its type needs it: decoding 1 MiB of empty lists costs 70 MB.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from .errors import MalformedMessage
from .values import check_values

__all__ = [
    "Ack",
    "Call",
    "CallMeta",
    "Cancel",
    "Chunk",
    "Credit",
    "Error",
    "Hello",
    "Message",
    "Notify",
    "Ping",
    "Pong",
    "Progress",
    "Result",
    "Welcome",
    "WireLimits",
    "decode_checked",
    "decode_message",
    "decode_value",
    "encode",
]

CallId: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Text: TypeAlias = Annotated[str, Meta(max_length=100_000)]


class WireLimits(Struct, frozen=True, array_like=True):
    """What the host lets this worker do; a worker that obeys is never cut off."""

    max_frame: int
    """Bytes of a frame's payload."""
    max_requests: int
    """Calls from the worker that may be open at once."""
    max_threads: int
    """Blocking tools that run at once."""
    log_level: Annotated[str, Meta(max_length=20)] = "info"
    """The least level of the records that the host wants."""


class CallMeta(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What goes with a call. Empty means unknown; times are milliseconds that are left."""

    timeout_ms: Annotated[int, Meta(ge=0, lt=2**53)] = 0
    """Time left; 0 leaves it to the side that answers."""
    parent: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    """From a worker: the id of the host's call that this one is made for; 0 for none."""
    credit: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    """Chunks that the caller takes before it grants more; 0 asks for one plain result."""
    caller: Annotated[str, Meta(max_length=2000)] = ""
    """Who calls; where tools call tools, all of them, joined by ` > `."""
    user_id: Annotated[str, Meta(max_length=1000)] = ""
    request_id: Annotated[str, Meta(max_length=1000)] = ""
    trace: Annotated[str, Meta(max_length=1000)] = ""
    """A W3C `traceparent`."""


class _Message(Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    pass


class Hello(_Message, frozen=True, tag=1):
    """The worker's first message."""

    min_version: Annotated[int, Meta(ge=0, lt=2**16)]
    max_version: Annotated[int, Meta(ge=0, lt=2**16)]
    language: Annotated[str, Meta(max_length=100)]
    sdk: Annotated[str, Meta(max_length=100)]


class Welcome(_Message, frozen=True, tag=2):
    """The host's answer to `Hello`. The plugin is loaded by the call that follows."""

    version: int
    root: str
    """The plugin's folder, absolute."""
    main: str
    """The entry file, relative to `root`."""
    manifest: dict[str, Any]
    config: dict[str, Any]
    grants: list[str]
    limits: WireLimits


class Call(_Message, frozen=True, tag=3):
    """Asks the other side for one outcome: a `Result` or an `Error` of the same id."""

    id: CallId
    method: Name
    params: Raw
    meta: CallMeta = CallMeta()


class Ack(_Message, frozen=True, tag=4):
    """From a worker: all calls up to this id have been read, and none of their handlers run yet."""

    id: CallId


class Result(_Message, frozen=True, tag=5):
    """The value of a call; of a stream, its end."""

    id: CallId
    value: Raw


class Error(_Message, frozen=True, tag=6):
    """The call has no value."""

    id: CallId
    code: Annotated[str, Meta(min_length=1, max_length=100)]
    message: Text
    data: Raw = Raw(b"\xc0")  # msgpack's nil


class Cancel(_Message, frozen=True, tag=7):
    """The caller no longer wants the outcome; the handler should stop and answer `cancelled`."""

    id: CallId


class Progress(_Message, frozen=True, tag=8):
    """How far a call has come."""

    id: CallId
    done: float
    total: float | None = None
    message: Annotated[str, Meta(max_length=1000)] = ""


class Chunk(_Message, frozen=True, tag=9):
    """One item of a call that answers with a stream. Takes one credit."""

    id: CallId
    value: Raw


class Credit(_Message, frozen=True, tag=10):
    """The caller takes so many chunks more."""

    id: CallId
    chunks: Annotated[int, Meta(ge=1, lt=2**31)]


class Notify(_Message, frozen=True, tag=11):
    """Something to know that has no answer."""

    topic: Name
    params: Raw


class Ping(_Message, frozen=True, tag=12):
    """Asks for a `Pong` of the same number."""

    number: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Pong(_Message, frozen=True, tag=13):
    """The message loop that answers this is alive."""

    number: Annotated[int, Meta(ge=0, le=2**63 - 1)]


_Frugal: TypeAlias = (
    Hello | Call | Ack | Result | Error | Cancel | Progress | Chunk | Credit | Notify | Ping | Pong
)
Message: TypeAlias = Welcome | _Frugal


class _SealedWelcome(_Message, frozen=True, tag=2):
    """A `Welcome` of which nothing is built yet: a worker can send one to the host, too."""

    version: Raw
    root: Raw
    main: Raw
    manifest: Raw
    config: Raw
    grants: Raw
    limits: Raw


def _refuse_ext(code: int, data: memoryview) -> Any:  # noqa: ARG001 - msgspec calls it so
    raise MalformedMessage(f"msgpack extension type {code} is not part of the protocol")


encode: Final = msgspec.msgpack.Encoder().encode
"""The msgpack bytes of a message or a value."""

_decode_message: Final[Callable[[bytes], _SealedWelcome | _Frugal]] = msgspec.msgpack.Decoder(
    _SealedWelcome | _Frugal
).decode
_decode_welcome: Final = msgspec.msgpack.Decoder(Welcome, ext_hook=_refuse_ext).decode
_decode_value: Final = msgspec.msgpack.Decoder(ext_hook=_refuse_ext).decode


def decode_message(payload: bytes) -> Message:
    """The message in one frame. Raises `MalformedMessage` on anything else."""
    try:
        message = _decode_message(payload)
        if isinstance(message, _SealedWelcome):
            check_values(payload)
            return _decode_welcome(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        # msgspec raises the last two as they are for deep nesting and broken text.
        raise MalformedMessage(str(exc)) from exc
    return message


def decode_value(raw: Raw | bytes) -> Any:
    """The plain Python value of foreign bytes.

    Raises `MalformedMessage` where they are not msgpack, or where `check_values` refuses them.
    """
    check_values(raw)
    return decode_checked(raw)


def decode_checked(raw: Raw | bytes) -> Any:
    """The same of bytes that `check_values` has passed already, or that are a part of such."""
    try:
        return _decode_value(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise MalformedMessage(str(exc)) from exc
