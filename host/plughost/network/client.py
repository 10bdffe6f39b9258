"""The host's end of a connection that a worker made."""

import socket
import struct
from contextlib import suppress
from typing import Final, Self

import anyio

__all__ = ["ClientStream"]

_CHUNK: Final = 64 * 1024
_AT_ONCE: Final = struct.pack("ii", 1, 0)  # struct linger: on, for no time


class ClientStream:
    """A socket read only when it is asked to be.

    Not anyio's own stream: on asyncio, a wrapped socket is read into memory from the start,
    as fast as the worker sends.
    """

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        address, port = accepted.getsockname()
        self.local_address: str = address
        """What the worker connected to."""
        self.local_port: int = port

    @classmethod
    def accept(cls, listener: socket.socket) -> Self:
        """The next connection, without waiting. Raises `OSError`."""
        accepted, _ = listener.accept()
        try:
            return cls(accepted)
        except OSError:
            accepted.close()
            raise

    async def receive(self) -> bytes:
        """The next bytes; none at the end. Raises `OSError` when the connection is broken."""
        while True:
            try:
                return self._socket.recv(_CHUNK)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)

    async def send(self, data: bytes) -> None:
        """Returns when the kernel has it all."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._socket)

    def send_eof(self) -> None:
        """Tell the worker that no more comes; it may still send."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self, *, orderly: bool) -> None:
        """Close it; where not orderly, so that the worker sees an error and no mere end."""
        if not orderly:
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._socket.close()
