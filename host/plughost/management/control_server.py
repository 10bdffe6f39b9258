"""The running host's end of the control socket. A client's mistake ends its connection only."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from plughost.host import Host
from plughost.reactor import Reactor, current_reactor

from .background import background_tasks
from .control import peer_of
from .control_connection import ControlConnection
from .control_methods import ControlMethods, ReadGrants

__all__ = ["ControlServer"]

_log: Final = logging.getLogger("plughost.control")

_MAX_CONNECTIONS: Final = 64
_FLUSH_TIMEOUT: Final = 2.0  # seconds that clients have to read their last answers


class ControlServer:
    """Answers clients for one host.

    >>> async with ControlServer.on(listener) as server:  # doctest: +SKIP
    ...     async with Host(["plugins"]) as host:
    ...         server.serve(host)
    """

    def __init__(
        self, listener: socket.socket, reactor: Reactor, grants: ReadGrants | None = None
    ) -> None:
        self._grants = grants
        self._listener = listener
        self._reactor = reactor
        self._connections: set[ControlConnection] = set()
        self._accepting = False

    @classmethod
    @asynccontextmanager
    async def on(
        cls, listener: socket.socket, grants: ReadGrants | None = None
    ) -> AsyncIterator["ControlServer"]:
        """A server whose tasks end with the block.

        `grants` reads what is granted by now, in a thread, before plugins are loaded.
        """
        async with background_tasks() as tasks:
            server = cls(listener, current_reactor(tasks), grants)
            try:
                yield server
            finally:
                server.stop_accepting()
                for connection in list(server._connections):
                    connection.close()

    def serve(self, host: Host) -> None:
        """Accept clients from now on; who connected before has waited in the backlog."""
        methods = ControlMethods(host, self._grants)
        self._accepting = True
        self._reactor.add_reader(self._listener.fileno(), lambda: self._on_connect(methods))

    def stop_accepting(self) -> None:
        """Accept no further clients; those that are there are answered still."""
        if self._accepting:
            self._accepting = False
            self._reactor.remove_reader(self._listener.fileno())

    @property
    def open_calls(self) -> int:
        """Requests that have no answer yet, without those that only look on."""
        return sum(connection.open_calls for connection in self._connections)

    async def flush(self) -> None:
        """Return when every answer has left, or when clients had time enough to read theirs."""
        with anyio.move_on_after(_FLUSH_TIMEOUT):
            # A socket that takes all that is left has no event.
            while any(c.open_requests or c.channel.backlog for c in self._connections):  # noqa: ASYNC110
                await anyio.sleep(0.01)

    def _on_connect(self, methods: ControlMethods) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the client has gone again, or we are out of descriptors
            return
        peer = peer_of(connection)
        if not peer.is_trusted or len(self._connections) >= _MAX_CONNECTIONS:
            _log.warning("process %s of user %s was turned away", peer.pid, peer.uid)
            connection.close()
            return
        connection.setblocking(False)
        self._connections.add(
            ControlConnection(connection, self._reactor, methods, self._connections.discard)
        )
