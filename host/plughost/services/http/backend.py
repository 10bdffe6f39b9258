"""Connections for the HTTP client: dialled past the address check, read by a budget.

Imported on first use, with httpcore2.
"""

# ruff: noqa: ARG002 - httpcore2's interface; one deadline for the whole request stands above it

import logging
import select
import ssl
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import anyio
import httpcore2
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream

from plughost.network.dial import DialFailed, DialRefused, dial
from plughost.network.resolver import Resolve
from plughost.services.http.errors import HttpFailed, HttpRefused, HttpTooLarge
from plughost.units import format_bytes

__all__ = ["Backend", "BudgetStream", "as_ours"]

# Small, so that parsing a piece of tiny chunks does not hold up the loop.
_READ: Final = 16 * 1024

_for_a_plugin: Final[ContextVar[bool]] = ContextVar("plughost_http", default=False)


@contextmanager
def as_ours(redact: Callable[[str], str]) -> Iterator[None]:
    """Do something of a plugin's request: errors become ours, and httpcore2 logs nothing of it."""
    token = _for_a_plugin.set(True)
    try:
        yield
    except DialRefused as exc:
        raise HttpRefused(redact(str(exc))) from exc
    except DialFailed as exc:
        raise HttpFailed(redact(str(exc))) from exc
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as exc:
        # It may quote the server.
        raise HttpFailed(redact(f"no response that can be read: {exc}")) from None
    finally:
        _for_a_plugin.reset(token)


class BudgetStream(httpcore2.AsyncNetworkStream):
    """A connection that gives no more bytes than it was allowed, until the next request."""

    def __init__(self, stream: ByteStream, socket: SocketStream, max_head: int) -> None:
        self._stream = stream
        self._socket = socket
        self._max_head = max_head
        self._left = max_head
        self.up = 0
        self.down = 0
        """Bytes of the running request and its response, without TLS."""
        self.address = str(socket.extra(SocketAttribute.remote_address)[0])  # noqa: S610 - no Django

    def allow_body(self, size: int) -> None:
        """The head has come: so much more may follow it."""
        self._left += size

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data = await self._stream.receive(min(max_bytes, _READ))
        except anyio.EndOfStream:
            return b""
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise httpcore2.ReadError("the server broke the connection") from exc
        self.down += len(data)
        self._left -= len(data)
        if self._left < 0:
            raise HttpTooLarge(f"the server sent over {format_bytes(self.down)} for one response")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self.down:  # another request starts here
            self._left, self.up, self.down = self._max_head, 0, 0
        self.up += len(buffer)
        try:
            await self._stream.send(buffer)
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as exc:
            raise httpcore2.WriteError("the server broke the connection") from exc

    async def aclose(self) -> None:
        # By force: a server that does not read must not hold up the end.
        await anyio.aclose_forcefully(self._stream)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> "BudgetStream":
        try:
            stream = await TLSStream.wrap(
                self._socket,
                server_side=False,
                hostname=server_hostname,
                ssl_context=ssl_context,
                standard_compatible=False,
            )
        except BaseException as exc:
            with anyio.CancelScope(shield=True):
                await self.aclose()
            if isinstance(exc, ssl.SSLCertVerificationError):
                raise HttpFailed(
                    f"the certificate of {server_hostname} is not accepted: {exc.verify_message}"
                ) from exc
            if isinstance(exc, OSError | anyio.EndOfStream | anyio.BrokenResourceError):
                reason = getattr(exc, "reason", None) or "the server broke the connection"
                raise HttpFailed(f"no TLS connection to {server_hostname}: {reason}") from exc
            raise
        return BudgetStream(stream, self._socket, self._max_head)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # of an idle connection: the server has closed it, or misbehaves
            poll = select.poll()
            try:
                poll.register(self._socket.extra(SocketAttribute.raw_socket), select.POLLIN)  # noqa: S610 - no Django
            except (OSError, ValueError):
                return True
            return bool(poll.poll(0))
        if info == "ssl_object":
            return self._stream.extra(TLSAttribute.ssl_object, None)  # noqa: S610 - no Django
        return None


class Backend(httpcore2.AsyncNetworkBackend):
    """Dials for one plugin."""

    def __init__(self, resolver: Resolve, allow_private: Collection[str], max_head: int) -> None:
        self._resolver = resolver
        self._allow_private = frozenset(allow_private)
        self._max_head = max_head

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> BudgetStream:
        stream = await dial(host, port, resolver=self._resolver, allow_private=self._allow_private)
        try:
            return BudgetStream(stream, stream, self._max_head)
        except (OSError, anyio.BrokenResourceError) as exc:  # gone again
            await anyio.aclose_forcefully(stream)
            raise DialFailed(host, port, "the server broke the connection") from exc


class _NotOurs(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _for_a_plugin.get()


def _keep_quiet() -> None:
    # At level DEBUG, httpcore2 logs the headers of responses, which may repeat a secret.
    for name in ("httpcore2.connection", "httpcore2.http11"):
        logging.getLogger(name).addFilter(_NotOurs())


_keep_quiet()
