"""Servers on this machine that note who comes, and answer with a secret."""

import os
import secrets
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["Listener", "Listeners"]

_DATA: Final = 65536
_PATIENCE: Final = 5.0  # seconds


class Listener:
    """One server, for one attack."""

    def __init__(self, server: socket.socket, settle: Callable[[], None]) -> None:
        self.server = server
        self._settle = settle
        self.secret = secrets.token_hex(16)
        """What it answers."""
        self.word = secrets.token_hex(8)
        """What the attacker is told to send."""
        self.reply = self.secret.encode()
        """What it answers, whole."""
        self._connected = threading.Event()
        self._data = b""

    @property
    def address(self) -> Any:
        return self.server.getsockname()

    @property
    def port(self) -> int:
        return int(self.address[1])

    def reached(self) -> str:
        """The evidence that somebody came, or nothing."""
        self._settle()
        if self.word.encode() in self._data:
            return f"the server at {self.address} was sent {self.word}"
        return f"the server at {self.address} was connected to" if self._connected.is_set() else ""

    def speak_http(self) -> None:
        """Answer as a web server would."""
        self._set_reply("200 OK", f"Content-Length: {len(self.secret)}", self.secret)

    def redirect_to(self, address: str) -> None:
        """Send whoever asks there."""
        self._set_reply("302 Found", f"Location: {address}\r\nContent-Length: 0", "")

    def _set_reply(self, status: str, headers: str, body: str) -> None:
        text = f"HTTP/1.1 {status}\r\n{headers}\r\nConnection: close\r\n\r\n{body}"
        self.reply = text.encode()

    def was_sent(self, word: str) -> bool:
        """Whether that was in what came."""
        self._settle()
        return word.encode() in self._data

    def note(self, data: bytes) -> None:
        self._data += data[:_DATA]

    def note_connection(self) -> None:
        self._connected.set()


class Listeners:
    """All servers of a range, served by one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wake = os.pipe()
        self._waiting: list[Listener] = []
        self._settling: list[threading.Event] = []
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, name="attack-listeners", daemon=True)

    def __enter__(self) -> Self:
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._wake)
        self._thread.join()
        self._selector.close()
        os.close(self._wakeup)
        for one in self._sockets:
            one.close()

    def add(self, family: int, address: Any, kind: int) -> Listener:
        """Listen there. Raises `OSError` where this machine has no such address."""
        server = socket.socket(family, kind)
        self._sockets.append(server)
        server.bind(address)
        if family == socket.AF_UNIX and isinstance(address, str):
            os.chmod(address, 0o777)  # noqa: PTH101, S103 - only the sandbox is to stop anybody
        if kind != socket.SOCK_DGRAM:
            server.listen()
        server.setblocking(False)
        listener = Listener(server, self._settle)
        self._waiting.append(listener)
        os.write(self._wake, b"x")
        return listener

    def _settle(self) -> None:
        """Return when all that has come by now has been looked at."""
        done = threading.Event()
        self._settling.append(done)
        os.write(self._wake, b"x")
        done.wait(_PATIENCE)

    def _serve(self) -> None:
        while True:
            ready = self._selector.select(0 if self._settling else None)
            if not ready:
                while self._settling:
                    self._settling.pop().set()
            for key, _ in ready:
                if key.data is None:
                    if not os.read(self._wakeup, 4096):
                        return
                    self._register_waiting()
                else:
                    with suppress(OSError):
                        key.data()

    def _register_waiting(self) -> None:
        while self._waiting:
            listener = self._waiting.pop()
            server = listener.server
            datagrams = server.type == socket.SOCK_DGRAM
            serve = self._answer_datagram if datagrams else self._accept
            self._register(server, partial(serve, listener))

    def _register(self, one: socket.socket, act: Callable[[], None]) -> None:
        self._selector.register(one, selectors.EVENT_READ, act)

    def _accept(self, listener: Listener) -> None:
        connection, _ = listener.server.accept()
        listener.note_connection()
        connection.setblocking(False)
        self._sockets.append(connection)
        self._register(connection, lambda: self._answer(connection, listener))

    def _answer(self, connection: socket.socket, listener: Listener) -> None:
        data = connection.recv(_DATA)
        listener.note(data)
        if data:
            connection.send(listener.reply)
        if not data or listener.reply.startswith(b"HTTP/"):
            self._selector.unregister(connection)
            connection.close()

    def _answer_datagram(self, listener: Listener) -> None:
        data, sender = listener.server.recvfrom(_DATA)
        listener.note(data)
        if sender:
            listener.server.sendto(listener.reply, sender)
