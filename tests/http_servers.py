"""Web servers that say what a test has them say, to the byte."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BufferedIOBase

__all__ = ["Visit", "WebServer", "ok", "web_server"]


def ok(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


@dataclass
class Visit:
    """One request, and the connection that it came on."""

    head: str
    body: bytes
    _connection: socket.socket

    @property
    def target(self) -> str:
        return self.head.split(" ")[1]

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        lines = [line.partition(": ") for line in self.head.split("\r\n")[1:]]
        return [value for key, _, value in lines if key.lower() == name.lower()]

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the client closes the connection."""
        self._connection.settimeout(seconds)
        try:
            return self._connection.recv(65536) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
        finally:
            self._connection.settimeout(None)


Answer = Callable[[Visit], None] | bytes


@dataclass
class WebServer:
    """What has come, and where it listens."""

    port: int
    connections: int = 0
    visits: list[Visit] = field(default_factory=list)
    closed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released for each connection that has ended."""


@contextmanager
def web_server(answer: Answer, tls: ssl.SSLContext | None = None) -> Iterator[WebServer]:
    """Answers each request with the bytes, or has the function answer it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = WebServer(listener.getsockname()[1])
        stop = threading.Event()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if stop.is_set():
                    connection.close()
                    return
                server.connections += 1
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            try:
                with suppress(OSError), connection:
                    secured = connection if tls is None else tls.wrap_socket(connection, True)
                    with secured, secured.makefile("rb") as reader:
                        while visit := _read(secured, reader):
                            server.visits.append(visit)
                            if isinstance(answer, bytes):
                                visit.send(answer)
                            else:
                                answer(visit)
            finally:
                server.closed.release()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server
        finally:
            stop.set()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", server.port)).close()
            thread.join()


def _read(connection: socket.socket, reader: BufferedIOBase) -> Visit | None:
    lines = []
    while (line := reader.readline()) not in (b"\r\n", b""):
        lines.append(line)
    if not lines:
        return None
    head = b"".join(lines).decode().removesuffix("\r\n")
    visit = Visit(head, b"", connection)
    length = visit.header("Content-Length")
    visit.body = reader.read(int(length[0])) if length else b""
    return visit
