"""Frames over the worker's two pipes, on its event loop."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Final

from plughost_protocol import (
    MAX_FRAME,
    FrameDecoder,
    Message,
    ProtocolError,
    decode_message,
    encode,
    frame_header,
)

__all__ = ["Connection"]

# Not more: glibc maps and unmaps a larger buffer at every read, which costs 1.4 to 2.5 times.
_READ_SIZE: Final = 64 * 1024
# The first frame of a turn leaves at once and the rest in such groups, so that the host
# reads while the worker still works; a whole turn at once would have them take turns.
_FRAMES_A_WRITE: Final = 8


class Connection:
    """The worker's end of the pipes. Thread-safe for sending."""

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        loop: asyncio.AbstractEventLoop,
        on_messages: Callable[[list[Message]], None],
    ) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._loop = loop
        self._thread = threading.get_ident()
        self._on_messages = on_messages
        self._decoder = FrameDecoder(MAX_FRAME)
        self._pending: list[bytes] = []
        self._unwritten = memoryview(b"")
        # Bytes from other threads that the loop has not taken over, and their count's lock.
        self._in_transit = 0
        self._transit = threading.Lock()
        self._queued = 0
        # Whether a flush is sure to come: one is scheduled, or follows the messages at hand.
        self._flush_due = False
        self.max_frame = MAX_FRAME
        for fd in (read_fd, write_fd):
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)
        loop.add_reader(read_fd, self._on_readable)

    def on_loop(self) -> bool:
        """Whether the caller runs in the loop's own thread."""
        return threading.get_ident() == self._thread

    def send(self, message: Message) -> None:
        """Queue a message. Raises `OverflowError` if it is longer than a frame may be."""
        payload = encode(message)
        if len(payload) > self.max_frame:
            raise OverflowError(
                f"{len(payload)} bytes do not fit in a frame of {self.max_frame} bytes"
            )
        if self.on_loop():
            self._queue(payload)
            return
        with self._transit:
            self._in_transit += len(payload)
        self._loop.call_soon_threadsafe(self._take_over, payload)

    @property
    def backlog(self) -> int:
        """Bytes that wait for the host to read, about."""
        return self._in_transit + self._queued

    def _take_over(self, payload: bytes) -> None:
        with self._transit:
            self._in_transit -= len(payload)
        self._queue(payload)

    def send_now(self, message: Message) -> None:
        """Send before anything that is queued later, and before the caller goes on."""
        self.send(message)
        self.flush()

    def _queue(self, payload: bytes) -> None:
        frame = frame_header(len(payload)) + payload
        self._queued += len(frame)
        self._pending.append(frame)
        if len(self._pending) >= _FRAMES_A_WRITE:
            self.flush()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush_soon)

    def flush(self) -> None:
        """Write what is queued, as far as the pipe takes it; the rest follows by itself."""
        if self._pending and not self._unwritten:
            data = b"".join(self._pending)
            self._pending.clear()
            self._write(data)

    def _flush_soon(self) -> None:
        self._flush_due = False
        self.flush()

    def _write(self, data: bytes | memoryview) -> None:
        try:
            written = os.write(self._write_fd, data)
        except BlockingIOError:
            written = 0
        except OSError:  # the host has closed its end
            os._exit(0)
        self._queued -= written
        if written < len(data):
            if not self._unwritten:
                self._loop.add_writer(self._write_fd, self._on_writable)
            self._unwritten = memoryview(data)[written:]
        elif self._unwritten:
            self._unwritten = memoryview(b"")
            self._loop.remove_writer(self._write_fd)

    def _on_writable(self) -> None:
        self._write(self._unwritten)
        self.flush()

    def _on_readable(self) -> None:
        try:
            data = os.read(self._read_fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # The host is gone, or has had enough: nothing that is left to do matters to anyone.
            os._exit(0)
        try:
            messages = [decode_message(frame) for frame in self._decoder.feed(data)]
        except ProtocolError as exc:
            sys.stderr.write(f"the host broke the protocol: {exc}\n")
            os._exit(1)
        if messages:
            self._flush_due = True
            self._on_messages(messages)
            self._flush_soon()
