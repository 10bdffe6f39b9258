"""A proxy that checks nothing: what attacks on the host's proxy get through, if they are any good.

For the control run. It takes any form of an address, believes what stands behind the last @, looks
for further requests in all that follows, and reaches IPv4 through NAT64 as some networks do.
"""

import ipaddress
import re
import socket
import threading
from contextlib import suppress
from typing import Final

__all__ = ["NaiveProxy"]

_DATA: Final = 65536
_TIMEOUT: Final = 0.5  # seconds
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_TARGET: Final = re.compile(rb"(?:CONNECT |[A-Z]+ http://)(\S*?)(?:/\S*)? HTTP/1\.[01]\r?\n")
_HOST: Final = re.compile(rb"\r?\nhost\s*: *(\S+)", re.IGNORECASE)


class NaiveProxy:
    """Serves on a port of the loopback until it is closed."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, name="naive-proxy", daemon=True)
        self._thread.start()

    def close(self) -> None:
        # What waits in accept(2) is woken by this, and not by close(2).
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection, suppress(OSError, ValueError):
                connection.settimeout(_TIMEOUT)
                self._answer(connection)

    def _answer(self, client: socket.socket) -> None:
        data = client.recv(_DATA)
        if data.startswith(b"CONNECT "):
            found = _TARGET.match(data)
            with _dial(found[1] if found else b"") as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                server.sendall(client.recv(_DATA))
                client.sendall(server.recv(_DATA))
            return
        targets = _TARGET.findall(data) or _HOST.findall(data)
        for target in targets:
            with _dial(target) as server:
                server.sendall(data)
                client.sendall(server.recv(_DATA))


def _dial(authority: bytes) -> socket.socket:
    text = authority.decode("latin-1").rpartition("@")[2]
    host, _, port = text.rpartition(":")
    return socket.create_connection((_address(host.strip("[]")), int(port)), _TIMEOUT)


def _address(host: str) -> str:
    if host.endswith(".example.org"):
        return "127.0.0.1"
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address in _NAT64:
            return str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return host
