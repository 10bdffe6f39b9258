"""Frames from the other side: cut, decoded, bounded in rate, and handed on one by one."""

import os
from collections.abc import Callable
from typing import Final

from plughost.config import Limits
from plughost.pace import Pace
from plughost.reactor import Reactor
from plughost_protocol import FrameDecoder, Message, ProtocolError, decode_message

__all__ = ["FrameReader"]

# Not more: glibc maps and unmaps a larger buffer at every read, which costs 1.4 to 2.5 times.
_READ_SIZE: Final = 64 * 1024
_MAX_PIPE: Final = 1024 * 1024  # bytes; the kernel's default for fs.pipe-max-size
_PAUSE: Final = 0.1  # seconds for which the pipe of a flooding worker is left alone, at least


class FrameReader:
    """Reads a non-blocking pipe while the loop finds it readable, 64 KiB at a time.

    After a violation, the end of the pipe or `stop`, nothing is read.
    """

    def __init__(
        self,
        reactor: Reactor,
        fd: int,
        limits: Limits,
        on_message: Callable[[Message], None],
        on_violation: Callable[[str], None],
        on_end: Callable[[], None],
    ) -> None:
        self.stopped = False
        self.unsolicited = 0
        """Frames that answered no call."""
        self._reactor = reactor
        self._fd = fd
        self._on_message = on_message
        self._on_violation = on_violation
        self._on_end = on_end
        self._decoder = FrameDecoder(limits.max_frame)
        self._frame_begun: float | None = None
        self._pace = Pace(limits.frames_per_second, limits.frames_per_second)
        reactor.add_reader(fd, self._on_readable)

    def charge(self, frames: int = 1) -> None:
        """Count a frame that answers no call, or one like many. After too many, reading pauses."""
        self.unsolicited += 1
        self._pace.spend(frames)

    def half_frame_for(self) -> float:
        """Seconds for which a frame has been incomplete."""
        return 0.0 if self._frame_begun is None else self._reactor.now() - self._frame_begun

    def violated(self, detail: str) -> None:
        """Read no more, and say why."""
        if not self.stopped:
            self.stop()
            self._on_violation(detail)

    def stop(self) -> None:
        """Read no more. The descriptor is its owner's to close."""
        if not self.stopped:
            self.stopped = True
            self._reactor.remove_reader(self._fd)

    def drain(self) -> None:
        """Take in what the pipe still holds of a process that has ended."""
        # A bound, since a process that left the worker may be writing still.
        for _ in range(_MAX_PIPE // _READ_SIZE + 1):
            if self.stopped or not self._read():
                break

    def _on_readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        """Read what there is, at most 64 KiB. Whether there may be more."""
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.stop()
            self._on_end()
            return False
        try:
            frames = self._decoder.feed(data)
            for frame in frames:
                self._on_message(decode_message(frame))
                if self.stopped:
                    return False
        except ProtocolError as exc:
            self.violated(str(exc))
            return False
        if self._decoder.is_idle:
            self._frame_begun = None
        elif frames or self._frame_begun is None or len(data) == _READ_SIZE:
            self._frame_begun = self._reactor.now()  # a long frame that keeps coming is fine
        if self._pace.is_spent:
            self._pause()
        return True

    def _pause(self) -> None:
        """Read nothing until what was spent is earned."""
        now = self._reactor.now()
        debt = self._pace.debt(now)
        if debt is not None and not self.stopped:
            # The pipe fills and the worker waits: nothing is lost, and nobody else is disturbed.
            self._reactor.remove_reader(self._fd)
            self._frame_begun = None
            self._reactor.call_at(now + max(_PAUSE, debt), self._resume)

    def _resume(self) -> None:
        if not self.stopped:
            self._reactor.add_reader(self._fd, self._on_readable)
