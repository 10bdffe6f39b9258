"""Real servers on 127.0.0.1, for connections that go out of a worker."""

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import trustme

__all__ = ["Server", "echo_server", "http_server", "mute_server", "tls_server"]


class Server(socketserver.ThreadingTCPServer):
    """A server that counts who came."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    connections = 0
    context: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is what some tests are about."""


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class _Mute(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Neither reads nor writes until the other side has closed."""
        with suppress(OSError):
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            threading.Event().wait(30)


class _Http(socketserver.StreamRequestHandler):
    """Answers with the request as it came."""

    server: Server

    def setup(self) -> None:
        if self.server.context is not None:
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = head + self.rfile.read(length)
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        self.wfile.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))

    def finish(self) -> None:
        super().finish()
        if self.server.context is not None:
            self.request.close()


@contextmanager
def _serving(handler: type[socketserver.BaseRequestHandler], port: int = 0) -> Iterator[Server]:
    with Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def echo_server() -> Iterator[Server]:
    """Sends back what comes, and ends when the client does."""
    with _serving(_Echo) as server:
        yield server


@contextmanager
def mute_server() -> Iterator[Server]:
    """Takes connections and nothing else."""
    with _serving(_Mute) as server:
        yield server


@contextmanager
def http_server() -> Iterator[Server]:
    """Answers each request with the text of the request."""
    with _serving(_Http) as server:
        yield server


@contextmanager
def tls_server(*names: str, port: int = 0) -> Iterator[tuple[Server, ssl.SSLContext]]:
    """The same over TLS, with a client's context that trusts it."""
    authority = trustme.CA()
    with _serving(_Http, port) as server:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(server.context)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        yield server, client
