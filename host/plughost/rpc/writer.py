"""Frames towards the other side, in few writes, without ever blocking the loop."""

import os
from collections.abc import Callable
from typing import Final

from plughost.reactor import Reactor
from plughost_protocol import frame_header

__all__ = ["FrameWriter"]

# Of frames that follow each other closely the first leaves at once and the rest in groups of
# this size, so that the worker reads while the host still writes. Measured on two cores: one
# write for a whole turn has them take turns, at two thirds of the calls a second.
_FRAMES_A_WRITE: Final = 8
_CLOSELY: Final = 50e-6  # seconds


class FrameWriter:
    """Writes frames to a non-blocking pipe; what the pipe does not take waits here."""

    __slots__ = (
        "_fd",
        "_flush_due",
        "_on_broken",
        "_pending",
        "_reactor",
        "_unwritten",
        "_written_at",
        "backlog",
        "queued",
    )

    def __init__(self, reactor: Reactor, fd: int, on_broken: Callable[[], None]) -> None:
        self._reactor = reactor
        self._fd = fd
        self._on_broken = on_broken
        self._pending: list[bytes] = []
        self._unwritten = memoryview(b"")
        self._flush_due = False
        self._written_at = 0.0
        self.backlog = 0
        """Bytes that wait here."""
        self.queued = 0
        """Bytes that were ever given to this writer."""

    @property
    def written(self) -> int:
        """Bytes that the pipe has taken, of all that were given."""
        return self.queued - self.backlog

    def send(self, payload: bytes, now: float) -> None:
        """Write a frame, at once or with the next group. `now` is the reactor's."""
        frame = frame_header(len(payload)) + payload
        size = len(frame)
        self.queued += size
        self.backlog += size
        self._pending.append(frame)
        if now - self._written_at > _CLOSELY or len(self._pending) >= _FRAMES_A_WRITE:
            self._written_at = now
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self._reactor.call_soon(self._end_turn)

    def close(self) -> None:
        """Write nothing more. The descriptor is its owner's to close."""
        if self._unwritten:
            self._reactor.remove_writer(self._fd)
        self._unwritten = memoryview(b"")
        self._pending.clear()
        self._fd = -1

    def _end_turn(self) -> None:
        self._flush_due = False
        self._flush()

    def _flush(self) -> None:
        if not self._pending or self._unwritten or self._fd < 0:
            return
        self._write(b"".join(self._pending))
        self._pending.clear()

    def _write(self, data: bytes | memoryview) -> None:
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError:
            self._on_broken()
            return
        self.backlog -= written
        if written == len(data):
            return
        if not self._unwritten:
            self._reactor.add_writer(self._fd, self._on_writable)
        self._unwritten = memoryview(data)[written:]

    def _on_writable(self) -> None:
        data, self._unwritten = self._unwritten, memoryview(b"")
        self._reactor.remove_writer(self._fd)
        self._write(data)
        self._flush()
