"""The Python stacks of a worker's threads, as faulthandler writes them."""

import os
from collections.abc import Callable
from typing import Final

from plughost.reactor import Reactor, TimerHandle
from plughost.text import clean

from .process import Process

__all__ = ["StackReader"]

_FIRST_WORD: Final = 0.2  # seconds; what handles signals answers in one, on a busy machine later
_QUIET: Final = 0.03  # seconds without a word after which the text is taken to be complete
_MAX_TEXT: Final = 64 * 1024  # bytes; a plugin can write here too


class StackReader:
    """Asks a worker for its stacks, and keeps what it wrote of its own accord on a crash."""

    def __init__(self, reactor: Reactor, process: Process) -> None:
        self.text = ""
        """The last stacks."""
        self._reactor = reactor
        self._process = process
        self._waiting: list[Callable[[str], None]] = []
        self._timer: TimerHandle | None = None
        self._fd = process.pipes.stacks
        self._data = b""
        reactor.add_reader(self._fd, self._on_readable)

    def ask(self, then: Callable[[str], None]) -> None:
        """Call `then` with the stacks, or after 200 ms with nothing if none come."""
        self._waiting.append(then)
        if len(self._waiting) == 1:
            self._data = b""
            self._process.ask_for_stacks()
            self._finish_in(_FIRST_WORD)

    def close(self) -> None:
        """Take in what the pipe still holds, settle who waits, and read no more."""
        if self._fd >= 0:
            self._on_readable()
        if self._fd >= 0:
            self._reactor.remove_reader(self._fd)
            self._fd = -1
        self._finish()

    def _on_readable(self) -> None:
        try:
            data = os.read(self._fd, _MAX_TEXT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._reactor.remove_reader(self._fd)
            self._fd = -1
            return
        self._data = (self._data + data)[:_MAX_TEXT]
        if self._waiting:
            self._finish_in(_QUIET)

    def _finish_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._reactor.call_at(self._reactor.now() + seconds, self._finish)

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._data:
            self.text = clean(self._data.decode(errors="replace")).strip()
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(self.text)
