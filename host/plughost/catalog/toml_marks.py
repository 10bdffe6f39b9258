"""Where the values of a TOML document stand, which `tomllib` has read and does not tell."""

import re
import tomllib
from contextlib import suppress
from typing import Final

from .marks import Keys, Marks

__all__ = ["toml_marks"]

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_VALUE: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' + r"|'''.*?'{3,5}(?!')"
    r"|\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^,\]}#\n]+",
    re.DOTALL,
)


def toml_marks(text: str) -> Marks:
    """The places in a document that is TOML. Other text gives places of no use."""
    scanner = _Scanner(text)
    # Nested as deep as tomllib could just go: what has been found will do.
    with suppress(RecursionError):
        scanner.scan()
    return scanner.marks


class _Scanner:
    def __init__(self, text: str) -> None:
        self.marks = Marks(text)
        self._text = text
        self._at = 0
        self._tables: dict[Keys, int] = {}
        """How many there are of each array of tables."""

    def scan(self) -> None:
        self.marks.add_value((), 0)
        table: Keys = ()
        while self._skip(_BLANK):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _skip(self, blank: re.Pattern[str]) -> bool:
        """Whether anything follows."""
        self._match(blank)
        return self._at < len(self._text)

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise ValueError(f"no TOML at character {self._at}")
        self._at = match.end()
        return match[0]

    def _header(self) -> Keys:
        start = self._at
        brackets = 2 if self._text.startswith("[[", start) else 1
        self._at += brackets
        names = self._names()
        self._at += brackets
        table: Keys = ()
        for name in names[:-1]:
            table = self._last((*table, name))
            if not self.marks.has_value(table):
                self.marks.add_value(table, start)
        table = (*table, names[-1])
        self.marks.add_key(table, start)
        if brackets == 2:
            self._tables[table] = self._tables.get(table, 0) + 1
        table = self._last(table)
        self.marks.add_value(table, start)
        return table

    def _last(self, table: Keys) -> Keys:
        """Of an array of tables, the last one that was begun."""
        count = self._tables.get(table)
        return table if count is None else (*table, count - 1)

    def _names(self) -> list[str]:
        """A key with dots, and the space around it."""
        names: list[str] = []
        while True:
            self._skip(_SPACE)
            written = self._match(_KEY)
            quoted = written[0] in "\"'"
            names.append(tomllib.loads(f"k={written}")["k"] if quoted else written)
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return names
            self._at += 1

    def _pair(self, table: Keys) -> None:
        start = self._at
        keys = table
        names = self._names()
        for name in names:
            keys = (*keys, name)
            self.marks.add_key(keys, start)
            if keys[len(table) :] != tuple(names):
                self.marks.add_value(keys, start)
        self._at += 1  # the sign of equality
        self._skip(_SPACE)
        self._value(keys)

    def _value(self, keys: Keys) -> None:
        self.marks.add_value(keys, self._at)
        match self._text[self._at]:
            case "[":
                self._items(keys, "]", in_array=True)
            case "{":
                self._items(keys, "}", in_array=False)
            case _:
                self._match(_VALUE)

    def _items(self, keys: Keys, end: str, *, in_array: bool) -> None:
        self._at += 1
        count = 0
        while self._skip(_BLANK) and self._text[self._at] != end:
            if in_array:
                self._value((*keys, count))
            else:
                self._pair(keys)
            count += 1
            self._skip(_BLANK)
            if self._text[self._at] == ",":
                self._at += 1
        self._at += 1
