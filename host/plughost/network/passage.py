"""One connection of a worker: what it is for, whether that is granted, and its bytes."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias, TypeVar

import anyio
from anyio.abc import SocketAttribute, SocketStream

from plughost.catalog.host_names import HostRule
from plughost.units import format_seconds

from .client import ClientStream
from .dial import DialFailed, DialRefused, dial
from .limits import NetworkLimits
from .plan import PROXY_PORT
from .proxy import ESTABLISHED, MAX_HEAD, BadRequest, read_request, refusal_text
from .record import Outcome
from .relay import Cut, Relay, ServerBroke
from .resolver import Resolve
from .synthetic import SyntheticNames
from .tls import HANDSHAKE, BadHello, HelloReader, check_name

__all__ = ["Passage", "Terms"]

_HTTPS_PORT: Final = 443
_LAST_WORDS: Final = 1.0  # seconds for a client to take in why its request was refused

T = TypeVar("T")
_Opening: TypeAlias = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all connections of a worker."""

    rules: Sequence[HostRule]
    names: SyntheticNames
    limits: NetworkLimits
    resolver: Resolve
    allow_private: Collection[str]


class _NotGranted(Exception):
    """Raised when no rule allows what a connection wants."""


_ENDS: Final[dict[type[Exception], tuple[Outcome, int]]] = {
    _NotGranted: (Outcome.REFUSED, 403),
    DialRefused: (Outcome.REFUSED, 403),
    BadHello: (Outcome.REFUSED, 403),
    BadRequest: (Outcome.REFUSED, 400),
    DialFailed: (Outcome.FAILED, 502),
    ServerBroke: (Outcome.FAILED, 502),
    Cut: (Outcome.CUT, 408),
}
"""What can end a connection, and the status for a client of the proxy that has no answer yet."""


class Passage:
    """The way of one connection. It begins at a synthetic address or at the proxy."""

    def __init__(self, client: ClientStream, terms: Terms) -> None:
        self.name = ""
        self.port = client.local_port
        self.address = ""
        """What was connected to."""
        self._client = client
        self._terms = terms
        self._relay: Relay | None = None

    @property
    def bytes_up(self) -> int:
        return self._relay.bytes_up if self._relay else 0

    @property
    def bytes_down(self) -> int:
        return self._relay.bytes_down if self._relay else 0

    async def run(self) -> tuple[Outcome, str]:
        """Returns how the connection ended, and why where it was not in good order."""
        client = self._client
        try:
            if client.local_address == "127.0.0.1" and client.local_port == PROXY_PORT:
                await self._by_proxy()
            else:
                await self._by_address()
        except tuple(_ENDS) as exc:
            return _ENDS[type(exc)][0], str(exc)
        except OSError as exc:  # the server's are translated: the worker hung up
            return Outcome.DONE, f"the worker hung up: {exc.strerror}"
        return Outcome.DONE, ""

    async def _by_address(self) -> None:
        self.name = self._terms.names.name_of(self._client.local_address) or ""
        if not self.name:
            raise _NotGranted(f"no host is granted at {self._client.local_address}")
        self._check_granted()
        opening: _Opening = self._first_bytes
        if self.port == _HTTPS_PORT:
            # Before the dial, so that nothing outside is touched for a hello that is refused.
            first = await self._in_time("TLS hello", self._first_bytes)
            if not first:
                return
            opening = partial(_ready, first)
        async with await self._dial() as server:
            await self._pass_on(server, opening)

    async def _by_proxy(self) -> None:
        self.port = 0
        try:
            head, rest = await self._in_time("request head", partial(_read_head, self._client))
            if not head:
                return
            request = read_request(head)
            self.name, self.port = request.name, request.port
            self._check_granted()
            server = await self._dial()
        except tuple(_ENDS) as exc:
            status = exc.status if isinstance(exc, BadRequest) else _ENDS[type(exc)][1]
            await _refuse(self._client, status, str(exc))
            raise
        async with server:
            if request.is_tunnel:
                await self._client.send(ESTABLISHED)
                await self._pass_on(server, partial(self._first_bytes, rest))
            else:
                length = len(request.head) + request.body_length
                await self._pass_on(server, partial(_ready, request.head + rest), length)

    def _check_granted(self) -> None:
        if not any(rule.matches(self.name, self.port) for rule in self._terms.rules):
            raise _NotGranted(f"port {self.port} of {self.name} is not granted")

    async def _dial(self) -> SocketStream:
        server = await dial(
            self.name,
            self.port,
            resolver=self._terms.resolver,
            allow_private=self._terms.allow_private,
            timeout=self._terms.limits.connect_timeout,
        )
        with suppress(OSError, anyio.BrokenResourceError):  # gone again, as the relay will see
            self.address = str(server.extra(SocketAttribute.remote_address)[0])  # noqa: S610 - no Django
        return server

    async def _pass_on(
        self, server: SocketStream, opening: _Opening, length: int | None = None
    ) -> None:
        self._relay = Relay(self._client, server, self._terms.limits)
        await self._relay.run(opening, length)

    async def _first_bytes(self, data: bytes = b"") -> bytes:
        """What the worker sends first; where that is TLS, a whole hello for the granted name."""
        data = data or await self._client.receive()
        if not data or (self.port != _HTTPS_PORT and data[0] != HANDSHAKE):
            return data
        reader = HelloReader()
        received = bytearray(data)
        while (hello := reader.feed(data)) is None:
            data = await self._client.receive()
            if not data:
                raise BadHello("the connection ended within the TLS hello")
            received += data
        check_name(hello, self.name)
        return bytes(received)

    async def _in_time(self, what: str, receive: Callable[[], Awaitable[T]]) -> T:
        timeout = self._terms.limits.head_timeout
        with anyio.move_on_after(timeout):
            return await receive()
        raise Cut(f"no whole {what} within {format_seconds(timeout)}")


async def _ready(data: bytes) -> bytes:
    return data


async def _read_head(client: ClientStream) -> tuple[bytes, bytes]:
    """A request head with its empty line, and what came behind it; nothing for a bare end."""
    data = bytearray()
    while more := await client.receive():
        searched = max(0, len(data) - 3)
        data += more
        end = data.find(b"\r\n\r\n", searched) + 4
        if end > 3 and end <= MAX_HEAD:
            return bytes(data[:end]), bytes(data[end:])
        if len(data) > MAX_HEAD:
            raise BadRequest(431, f"the request head is over {MAX_HEAD} bytes")
    if data:
        raise BadRequest(400, "the connection ended within the request head")
    return b"", b""


async def _refuse(client: ClientStream, status: int, reason: str) -> None:
    """Say so, and give the client time to read it: closing over unread bytes would take it back."""
    with suppress(OSError), anyio.move_on_after(_LAST_WORDS):
        await client.send(refusal_text(status, reason))
        client.send_eof()
        while await client.receive():
            pass
