"""The logs of a running host, printed in a thread: a reader that stands still stops no plugin."""

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Self

import msgspec

from plughost.supervision.logbook import LogEntry
from plughost.text import clean_line

from .output import Cell, Output

__all__ = ["Journal"]

_HELD_LINES: Final = 1000  # log lines of the start, shown after the table
_WAITING_LINES: Final = 10_000  # for a terminal that was stopped with Ctrl-S, or a full pipe
_LAST_WORDS: Final = 2.0  # seconds that a reader has to take what was logged while we stopped
_LEVEL_STYLES: Final = {"error": "bold red", "warning": "yellow", "debug": "dim"}


class Journal(logging.Handler):
    """Prints the plugins' logs, and the host's own; those of the start after the table."""

    def __init__(
        self,
        output: Output,
        *,
        quiet: bool,
        is_told: Callable[[LogEntry], bool] = lambda _: False,
    ) -> None:
        """`is_told` are entries that are left out, since they are shown in another way."""
        super().__init__(logging.INFO)
        self._output = output
        self._quiet = quiet
        self._is_told = is_told
        self._held: deque[LogEntry] | None = deque(maxlen=_HELD_LINES)
        self._lines: queue.Queue[LogEntry | Callable[[], None] | None] = queue.Queue(_WAITING_LINES)
        self._dropped = 0
        self._ending = False
        self._log = logging.getLogger("plughost")
        # A daemon: a reader that never reads must not keep us from ending.
        self._thread = threading.Thread(target=self._print_all, name="journal", daemon=True)

    def __enter__(self) -> Self:
        self._log.addHandler(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._log.removeHandler(self)
        self.start_is_over()
        try:
            self._lines.put(None, timeout=_LAST_WORDS)
        except queue.Full:
            return
        self._thread.join(_LAST_WORDS)

    def emit(self, record: logging.LogRecord) -> None:
        # A plugin's lines come by `write`; what the host logs of refused folders, in the table.
        if record.name.startswith("plughost.plugin.") or record.name == "plughost":
            return
        level = record.levelname.lower() if record.levelno < logging.ERROR else "error"
        self.write(LogEntry(record.created, "", level, "host", self.format(record)))

    def write(self, entry: LogEntry) -> None:
        """Print an entry soon, or keep it until the start is over."""
        if self._held is not None:
            self._held.append(entry)
        elif self._is_told(entry):
            return
        elif not self._quiet or entry.level in ("warning", "error"):
            try:
                if self._dropped:
                    told = f"{self._dropped} lines were dropped: nobody read them"
                    self._lines.put_nowait(LogEntry(time.time(), "", "warning", "host", told))
                    self._dropped = 0
                self._lines.put_nowait(entry)
            except queue.Full:
                self._dropped += 1

    def say(self, print_it: Callable[[], None]) -> None:
        """Have something printed among the entries, at its turn."""
        try:
            self._lines.put_nowait(print_it)
        except queue.Full:
            self._dropped += 1

    def start_is_over(self) -> None:
        """Print what was kept, and from now on each entry as it comes."""
        held, self._held = self._held or (), None
        for entry in held:
            self.write(entry)

    def _print_all(self) -> None:
        try:
            while (entry := self._lines.get()) is not None:
                if isinstance(entry, LogEntry):
                    self._print(entry)
                else:
                    entry()
        except OSError:
            # Who read our lines has gone: end as if told to, and write to nobody.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not self._ending:
                os.kill(os.getpid(), signal.SIGTERM)

    def _print(self, entry: LogEntry) -> None:
        if self._output.as_json:
            self._output.json_line({"event": "log", **msgspec.to_builtins(entry)})
            return
        clock = time.strftime("%H:%M:%S", time.localtime(entry.time))
        source = f"[Plugin:{entry.plugin}]" if entry.plugin else "[host]"
        style = _LEVEL_STYLES.get(entry.level, "")
        fields = clean_line("".join(f" {name}={value}" for name, value in entry.fields.items()))
        self._output.line(
            Cell(clock, "dim"),
            " ",
            Cell(source, "cyan"),
            Cell(f" {entry.level:<7} ", style),
            Cell(entry.message, style if entry.level == "error" else ""),
            Cell(fields, "dim"),
        )
