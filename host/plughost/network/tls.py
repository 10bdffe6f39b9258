"""The name in a TLS ClientHello (RFC 8446, section 4.1.2; RFC 6066, section 3).

Only the hello is read; nothing is decrypted, and its bytes go on as they came.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["HANDSHAKE", "MAX_HELLO", "BadHello", "ClientHello", "HelloReader", "check_name"]

HANDSHAKE: Final = 0x16
"""The first byte of a TLS connection: a handshake record."""
MAX_HELLO: Final = 16 * 1024  # with post-quantum key shares they have about 2 KiB

_MAX_RECORD: Final = 2**14
_MAJOR_VERSION: Final = 3  # of SSL 3 and of every TLS
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_ENCRYPTED_CLIENT_HELLO: Final = 0xFE0D  # RFC 9849


class BadHello(ValueError):
    """Raised for bytes that are no ClientHello that can be judged."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the hello says of the server that it is for."""

    server_name: str | None
    """As sent; None when the hello names none."""
    is_encrypted: bool
    """Whether it carries an encrypted hello, which may name another server."""


class HelloReader:
    """Finds the hello in the bytes that a client sends first, in whatever pieces they come."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._message = bytearray()
        self._fed = 0

    def feed(self, data: bytes) -> ClientHello | None:
        """The hello, once it is all there. Raises `BadHello` at the first byte that settles it."""
        self._records += data
        self._fed += len(data)
        while (payload := self._next_record()) is not None:
            self._message += payload
            if self._message[0] != _CLIENT_HELLO:
                raise BadHello("the TLS handshake does not begin with a ClientHello")
            if len(self._message) < 4:
                continue
            end = 4 + int.from_bytes(self._message[1:4])
            if end > MAX_HELLO:
                raise BadHello(f"a TLS hello of {end} bytes is over the limit of {MAX_HELLO}")
            if len(self._message) >= end:
                return _parse(bytes(self._message[4:end]))
        # Each record adds five bytes, so tiny records alone could go on for ever.
        if self._fed > 2 * MAX_HELLO:
            raise BadHello(f"no whole TLS hello in {self._fed} bytes")
        return None

    def _next_record(self) -> bytes | None:
        head = self._records[:5]
        if head and head[0] != HANDSHAKE:
            raise BadHello("this is no TLS handshake")
        if len(head) > 1 and head[1] != _MAJOR_VERSION:
            raise BadHello("this is no TLS record of a known version")
        if len(head) < 5:
            return None
        end = 5 + int.from_bytes(head[3:])
        if not 5 < end <= 5 + _MAX_RECORD:
            raise BadHello(f"a TLS record of {end - 5} bytes")
        if len(self._records) < end:
            return None
        payload = bytes(self._records[5:end])
        del self._records[:end]
        return payload


def check_name(hello: ClientHello, name: str) -> None:
    """Raises `BadHello` unless the hello is for `name`, which is in lower case."""
    if hello.server_name is None:
        raise BadHello(f"the TLS hello names no server (SNI); {name} is granted")
    if hello.server_name.lower() != name:
        raise BadHello(f"the TLS hello names {hello.server_name!r}, not {name}")
    if hello.is_encrypted:
        raise BadHello("the TLS hello hides another one (ECH), so its name says nothing")


def _parse(message: bytes) -> ClientHello:
    body = _Reader(message)
    body.take(2 + 32)  # version, random
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        body.block(width)
    if body.is_empty:
        return ClientHello(None, is_encrypted=False)
    extensions = _extensions(body.block(2))
    if not body.is_empty:
        raise BadHello("the hello has bytes behind its extensions")
    names = extensions.get(_SERVER_NAME)
    return ClientHello(
        None if names is None else _server_name(names),
        is_encrypted=_ENCRYPTED_CLIENT_HELLO in extensions,
    )


def _extensions(data: bytes) -> dict[int, bytes]:
    reader = _Reader(data)
    found: dict[int, bytes] = {}
    while not reader.is_empty:
        kind = int.from_bytes(reader.take(2))
        if kind in found:
            raise BadHello(f"the TLS hello has extension {kind} twice")
        found[kind] = reader.block(2)
    return found


def _server_name(data: bytes) -> str:
    outer = _Reader(data)
    names = _Reader(outer.block(2))
    kind = names.take(1)
    name = names.block(2)
    # Servers differ in which of several names they take, so there is only one.
    if kind != b"\0" or not names.is_empty or not outer.is_empty or not name:
        raise BadHello("the TLS hello does not hold exactly one server name")
    try:
        return name.decode("ascii")
    except UnicodeDecodeError as exc:
        raise BadHello("the server name in the TLS hello is not ASCII") from exc


class _Reader:
    """Bytes from front to back; past the end is a `BadHello`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._data)

    def take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise BadHello("the TLS hello is shorter than its lengths say")
        self._at, start = end, self._at
        return self._data[start:end]

    def block(self, width: int) -> bytes:
        """Bytes with their length in front, in `width` bytes."""
        return self.take(int.from_bytes(self.take(width)))
