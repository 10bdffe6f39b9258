"""What a plugin logs and prints: bounded in rate and length, cleaned, and passed on."""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from plughost.config import Limits
from plughost.pace import Pace
from plughost.reactor import Reactor
from plughost.text import clean_line

__all__ = ["LineReader", "LogBook", "LogEntry", "Topic"]

Topic = Literal["", "load_failure", "swap"]

_READ_SIZE: Final = 64 * 1024
_BURST: Final = 5  # seconds' worth of lines that may come at once, as at start
_PAUSE: Final = 0.05  # seconds for which the pipe of a flooding worker is left alone
_KEPT: Final = 200
_TAIL: Final = 10  # lines of stderr that go with the news of a death

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line of a plugin's log."""

    time: float
    """Seconds since the epoch, on the host's clock."""
    plugin: str
    level: str
    """debug, info, warning or error."""
    source: str
    """`log` (the SDK's logger), `stdout`, `stderr`, or `host` (about the plugin)."""
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    about: Topic = ""
    """What the host's own line is about, where that is told in other ways, too."""


class LogBook:
    """One plugin's log: the last lines are kept, and all that are within the rate passed on."""

    def __init__(
        self, plugin: str, limits: Limits, listen: Callable[[LogEntry], None] | None = None
    ) -> None:
        self.entries: deque[LogEntry] = deque(maxlen=_KEPT)
        self.dropped = 0
        """Lines beyond the rate."""
        self._plugin = plugin
        self._rate = limits.log_lines_per_second
        self._max_length = limits.log_line_length
        self._least = _LEVELS[limits.log_level]
        self._listen = listen
        self._log = logging.getLogger(f"plughost.plugin.{plugin}")
        self._pace = Pace(self._rate, self._rate * _BURST)
        self._unreported = 0

    def write(
        self,
        level: str,
        source: str,
        message: str,
        fields: Mapping[str, Any] | None = None,
    ) -> bool:
        """Add a line from the worker; whether it was within the rate."""
        if _LEVELS[level] < self._least:
            return True
        if self._pace.take(time.monotonic()):
            self.dropped += 1
            self._unreported += 1
            return False
        if self._unreported:
            dropped, self._unreported = self._unreported, 0
            self.note("warning", f"{dropped} lines were dropped: over {self._rate} a second")
        if len(message) > self._max_length:
            message = f"{message[: self._max_length]}... ({len(message)} characters)"
        self._add(level, source, clean_line(message), _clean_fields(fields or {}))
        return True

    def note(self, level: str, message: str, about: Topic = "") -> None:
        """Add a line of the host's own, about the plugin."""
        self._add(level, "host", clean_line(message), {}, about)

    def _add(
        self,
        level: str,
        source: str,
        message: str,
        fields: Mapping[str, Any],
        about: Topic = "",
    ) -> None:
        entry = LogEntry(time.time(), self._plugin, level, source, message, fields, about)
        self.entries.append(entry)
        self._log.log(_LEVELS[level], "[Plugin:%s] %s", self._plugin, message)
        if self._listen is not None:
            self._listen(entry)


def _clean_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        clean_line(name): clean_line(value) if isinstance(value, str) else value
        for name, value in fields.items()
    }


class LineReader:
    """Reads one of a worker's output pipes into its log."""

    def __init__(self, reactor: Reactor, fd: int, source: str, book: LogBook) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL)
        """The last lines."""
        self._reactor = reactor
        self._fd = fd
        self._source = source
        self._level = "warning" if source == "stderr" else "info"
        self._book = book
        self._rest = b""
        self._open = True
        reactor.add_reader(fd, self._on_readable)

    def close(self) -> None:
        """Take in what the pipe still holds, and read no more."""
        if self._open:
            # A bound, since a process that left the worker may be writing still.
            for _ in range(16):
                if not self._read():
                    break
            self._lines(self._rest, last=True)
            self._end()

    def _on_readable(self) -> None:
        self._read()

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._end()
            return False
        self._lines(self._rest + data)
        return True

    def _lines(self, data: bytes, *, last: bool = False) -> None:
        *lines, self._rest = data.split(b"\n")
        if last or len(self._rest) > _READ_SIZE:
            lines.append(self._rest)
            self._rest = b""
        kept = True
        for line in lines:
            if line:
                text = line.decode(errors="backslashreplace")
                kept = self._book.write(self._level, self._source, text)
                self.tail.append(clean_line(text[:1000]))
        if not kept and self._open:
            self._reactor.remove_reader(self._fd)
            self._reactor.call_at(self._reactor.now() + _PAUSE, self._resume)

    def _resume(self) -> None:
        if self._open:
            self._reactor.add_reader(self._fd, self._on_readable)

    def _end(self) -> None:
        if self._open:
            self._open = False
            self._reactor.remove_reader(self._fd)
