"""What the command writes: tables and colours for people, plain lines for pipes, JSON for programs.

Text that a plugin chose is cleaned here, and never read as rich markup.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from plughost.text import clean, clean_line

from .exit_codes import ExitCode
from .problems import CommandFailed, Problem

if TYPE_CHECKING:  # rich takes 0.1 s to import, and is for terminals only
    from rich.console import Console

__all__ = ["Cell", "Column", "Output", "to_json"]

_GAP: Final = 2  # characters between two columns
_MIN_FOLDED: Final = 20  # characters; a narrow terminal folds, and loses nothing
# What JSON leaves as it is, and terminals act on. Written as escapes, it is the same JSON.
_UNSAFE_IN_JSON: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False
    fold: bool = False
    """Whether it folds its text where the terminal is too narrow for all."""
    spare: int = 0
    """Whether it goes where the terminal is too narrow, and the greatest first; 0 stays."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with a style of rich's."""

    text: str
    style: str = ""


class Output:
    """Standard output and standard error of one command."""

    def __init__(self, *, json: bool = False, debug: bool = False) -> None:
        self.as_json = json
        self.debug = debug
        self._consoles: dict[IO[str], Console] = {}

    @property
    def on_terminal(self) -> bool:
        """Whether a person reads standard output."""
        return sys.stdout.isatty()

    def console(self, stream: IO[str]) -> "Console":
        """A rich console that reads no markup out of text."""
        from rich.console import Console

        if stream not in self._consoles:
            self._consoles[stream] = Console(
                file=stream, markup=False, emoji=False, highlight=False, soft_wrap=True
            )
        return self._consoles[stream]

    def line(self, *parts: str | Cell, stream: IO[str] | None = None) -> None:
        """One line or more, out of cleaned parts."""
        stream = stream or sys.stdout
        cells = [part if isinstance(part, Cell) else Cell(part) for part in parts]
        if not stream.isatty():
            # In one piece, since `plughost run` writes from two threads.
            stream.write("".join([*(clean(cell.text) for cell in cells), "\n"]))
            stream.flush()
            return
        from rich.text import Text

        text = Text()
        for cell in cells:
            text.append(clean(cell.text), cell.style)
        self.console(stream).print(text)

    def warning(self, text: str) -> None:
        """What somebody should know of, and stops nothing. On standard error, in one line."""
        if self.as_json:
            self.line(to_json({"warning": text}, indent=-1), stream=sys.stderr)
            return
        self.line(Cell("warning: ", "yellow"), clean_line(text), stream=sys.stderr)

    def note(self, *parts: str | Cell) -> None:
        """A line for people only, beside the JSON if there is any."""
        self.line(*parts, stream=sys.stderr if self.as_json else sys.stdout)

    def json(self, value: object) -> None:
        """One JSON value, indented."""
        self.line(to_json(value))

    def json_line(self, value: object) -> None:
        """One JSON value in one line."""
        self.line(to_json(value, indent=-1))

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str | Cell]]) -> None:
        """Rows under their titles; in a pipe, plain columns that are never cut."""
        cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
        if not self.on_terminal:
            self._plain_table(columns, cells)
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            show_edge=False,
            header_style="bold",
        )
        console = self.console(sys.stdout)
        widths = [_width(columns[at], [row[at] for row in cells]) for at in range(len(columns))]
        shown = _fitting(columns, widths, console.width)
        for at in shown:
            column, width = columns[at], widths[at]
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                overflow="fold",
                no_wrap=not column.fold,
                min_width=width,
            )
        for row in cells:
            table.add_row(*(Text(clean_line(row[at].text), row[at].style) for at in shown))
        # Where it does not fit, the terminal breaks the lines: a number must not lose a digit.
        needed = _total(widths[at] for at in shown)
        console.print(table, soft_wrap=False, crop=False, width=max(needed, console.width))
        if missing := [column.title for at, column in enumerate(columns) if at not in shown]:
            self.line(Cell(f"too narrow for {', '.join(missing)}: --json has them", "dim"))

    def _plain_table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        lines = [[column.title.upper() for column in columns]]
        lines += [[clean_line(cell.text) or "-" for cell in row] for row in rows]
        widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
        for texts in lines:
            padded = [
                text.rjust(width) if column.right else text.ljust(width)
                for text, width, column in zip(texts, widths, columns, strict=True)
            ]
            self.line("  ".join(padded).rstrip())

    def problem(self, problem: Problem) -> ExitCode:
        """Say what went wrong, on standard error, and give the exit code for it."""
        if self.as_json:
            self.line(to_json(problem.as_json(), indent=-1), stream=sys.stderr)
            return problem.exit_code
        self.line(Cell("error: ", "bold red"), problem.what, stream=sys.stderr)
        if problem.why:
            self.line(Cell("  why: ", "dim"), problem.why, stream=sys.stderr)
        if problem.then:
            self.line(Cell("  try: ", "dim"), problem.then, stream=sys.stderr)
        if self.debug and problem.details:
            self.line(problem.details.rstrip(), stream=sys.stderr)
        return problem.exit_code


def _width(column: Column, cells: Iterable[Cell]) -> int:
    """How many characters of its text a column needs."""
    width = max(map(len, [column.title, *(clean_line(cell.text) for cell in cells)]))
    return min(width, _MIN_FOLDED) if column.fold else width


def _total(widths: Iterable[int]) -> int:
    return sum(width + _GAP for width in widths) - _GAP


def _fitting(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """The columns that are shown, by their places."""
    shown = list(range(len(columns)))
    while _total(widths[at] for at in shown) > room:
        first = max(shown, key=lambda at: columns[at].spare)
        if not columns[first].spare:
            break
        shown.remove(first)
    return shown


def to_json(value: Any, indent: int = 2) -> str:
    """JSON text, `bytes` as base64. Raises `CommandFailed` for what JSON cannot hold."""
    try:
        encoded = msgspec.json.encode(msgspec.to_builtins(value, str_keys=True))
    except (TypeError, ValueError, RecursionError) as exc:
        raise CommandFailed(
            Problem(
                f"the result cannot be written as JSON: {exc}",
                code="result_invalid",
            )
        ) from exc
    text = msgspec.json.format(encoded, indent=indent).decode()
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
