"""The lines of code round a mistake, as a person is shown them.

Where it is, is the plugin's claim: only files in its own folder are read, and no link out of it.
"""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from plughost.errors import ManifestError, PlughostError, StartFailed
from plughost.exits import WorkerExit
from plughost.text import clean_line
from plughost_protocol import CodePlace

from .output import Cell, Output

__all__ = ["Excerpt", "excerpt_of", "excerpts", "show_excerpts", "show_traceback"]

_AROUND: Final = 2  # lines before the fault, and behind it
_MAX_SIZE: Final = 1_000_000  # bytes of a file that are read
_MAX_LINE: Final = 160  # characters that are shown
_MAX_EXCERPTS: Final = 5  # of one manifest
_TAB: Final = "    "
_LINE_END: Final = re.compile("\r\n|\r|\n")  # as Python counts lines; splitlines knows more


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines of one file, cleaned."""

    file: str
    """From the plugin's folder on."""
    line: int
    """The one with the fault."""
    column: int
    """Where in it the fault begins, from 1; 0 if that is not known."""
    first: int
    """The number of the first line that is shown."""
    lines: tuple[str, ...]
    marker: str = ""
    """What stands under the line of the fault."""

    def as_json(self) -> dict[str, Any]:
        shown = [{"line": self.first + n, "text": text} for n, text in enumerate(self.lines)]
        return {"file": self.file, "line": self.line, "column": self.column, "lines": shown}


def excerpts(code: Path, error: PlughostError) -> list[Excerpt]:
    """The code that an error of a plugin in this folder, or of one of this file, is about."""
    if isinstance(error, ManifestError):
        places = [CodePlace(str(error.path), line, column) for line, column in error.marks if line]
        found = [_excerpt(code, place) for place in places[:_MAX_EXCERPTS]]
        return [one for one in found if one is not None]
    if isinstance(error, StartFailed) and error.exit is not None:
        return excerpt_of(code, error.exit)
    return []


def excerpt_of(code: Path, end: WorkerExit) -> list[Excerpt]:
    """The line of the plugin's own that the exception came from: one or none."""
    for place in reversed(end.places):
        if (found := _excerpt(code, place)) is not None:
            return [found]
    return []


def show_traceback(output: Output, traceback: str, stream: IO[str] | None = None) -> None:
    """What the lines of code do not tell, where it is asked for or there are none."""
    for line in traceback.splitlines():
        output.line(Cell(f"    {line}", "dim"), stream=stream)


def show_excerpts(output: Output, found: Iterable[Excerpt], stream: IO[str] | None = None) -> None:
    """The lines with their numbers, and a mark at the fault."""
    for one in found:
        column = f":{one.column}" if one.column else ""
        output.line(Cell(f"  {one.file}:{one.line}{column}", "bold"), stream=stream)
        width = len(str(one.first + len(one.lines) - 1))
        for number, text in enumerate(one.lines, one.first):
            is_it = number == one.line
            output.line(
                Cell("  > " if is_it else "    ", "bold red"),
                Cell(f"{number:>{width}} | ", "dim"),
                Cell(text, "" if is_it else "dim"),
                stream=stream,
            )
            if is_it and one.marker:
                output.line(
                    Cell(f"    {'':>{width}} | ", "dim"),
                    Cell(one.marker, "bold red"),
                    stream=stream,
                )


def _excerpt(code: Path, place: CodePlace) -> Excerpt | None:
    file = Path(place.file)
    root = next((one for one in _roots(code) if file.is_relative_to(one)), None)
    if root is None or not place.line:
        return None
    folder = root if os.path.isdir(root) else root.parent  # noqa: PTH112 - it never raises
    text = _read(folder, file)
    if text is None:
        return None
    lines = _LINE_END.split(text)
    if place.line > len(lines):
        return None
    first = max(1, place.line - _AROUND)
    shown = lines[first - 1 : place.line + _AROUND]
    if shown and not shown[-1] and first + len(shown) - 1 == len(lines) > place.line:
        shown.pop()  # what stands behind the last line end is no line
    return Excerpt(
        clean_line(str(file.relative_to(folder))),
        place.line,
        place.column,
        first,
        tuple(_shown(line)[:_MAX_LINE] for line in shown),
        _marker(lines[place.line - 1], place),
    )


def _roots(code: Path) -> list[Path]:
    """The plugin's folder or file, as the host calls it and as it is without links."""
    try:
        return [code, code.resolve(strict=True)]
    except (OSError, ValueError):
        return [code]


def _marker(line: str, place: CodePlace) -> str:
    if not place.column:
        return ""
    before = _shown(line[: place.column - 1])
    marked = _shown(line[place.column - 1 : max(place.column, place.end_column - 1)])
    if len(before) >= _MAX_LINE:
        return ""
    return " " * _width(before) + "^" * max(1, _width(marked[: _MAX_LINE - len(before)]))


def _shown(text: str) -> str:
    return clean_line(text.replace("\t", _TAB))


def _width(text: str) -> int:
    """In a terminal, where some letters take two columns."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _read(root: Path, file: Path) -> str | None:
    """The text of a file that really lies in a folder."""
    try:
        folder = root.resolve(strict=True)
        parts = file.resolve(strict=True).relative_to(folder).parts
        descriptor = _open(folder, parts)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as opened:
            return opened.read(_MAX_SIZE).decode(errors="replace")
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _open(folder: Path, parts: Sequence[str]) -> int:
    """Step by step, so that no link that has just been put there leads out."""
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts[:-1]:
        try:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            deeper = os.open(part, flags, dir_fd=inside)
        finally:
            os.close(inside)
        inside = deeper
    try:
        # Not blocking: a FIFO of that name would keep us here.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(parts[-1], flags, dir_fd=inside)
    finally:
        os.close(inside)
