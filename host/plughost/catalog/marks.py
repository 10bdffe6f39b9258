"""Where the values of a document stand: line and column, for who is to mend one."""

import json
import re
from typing import Final, NamedTuple, TypeAlias

__all__ = ["NO_MARK", "Keys", "Mark", "Marks", "json_marks", "keys_of", "mark_at"]

Keys: TypeAlias = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

_MAX_DEPTH: Final = 8  # deeper than any field of a manifest; what is deeper has its parent's mark


class Mark(NamedTuple):
    """A place in a file, both counted from 1; 0 where it is not known."""

    line: int = 0
    column: int = 0


def mark_at(text: str, offset: int) -> Mark:
    """The place of a character."""
    return Mark(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


NO_MARK: Final = Mark()


class Marks:
    """The places of one document's values."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.twice: list[Keys] = []
        """Keys that an object has twice."""
        self._values: dict[Keys, int] = {}
        self._keys: dict[Keys, int] = {}

    def add_key(self, keys: Keys, offset: int) -> None:
        if len(keys) <= _MAX_DEPTH:
            self._keys[keys] = offset  # of two, the last one counts

    def add_value(self, keys: Keys, offset: int) -> None:
        if len(keys) <= _MAX_DEPTH:
            self._values[keys] = offset

    def has_key(self, keys: Keys) -> bool:
        return keys in self._keys

    def has_value(self, keys: Keys) -> bool:
        return keys in self._values

    def of_key(self, keys: Keys) -> Mark:
        """Where the key of a value stands, else the value."""
        offset = self._keys.get(keys)
        return self.of(keys) if offset is None else mark_at(self.text, offset)

    def of(self, keys: Keys) -> Mark:
        """Where a value stands, or the nearest around it that has a place."""
        for length in range(len(keys), -1, -1):
            offset = self._values.get(keys[:length])
            if offset is not None:
                return mark_at(self.text, offset)
        return NO_MARK


_PIECE: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def json_marks(text: str) -> Marks:
    """The places in a document that is JSON: what is none is not noticed."""
    marks = Marks(text)
    keys: list[str | int] = []
    inside: list[str] = []
    at_key = False
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece in ("{", "["):
            marks.add_value(tuple(keys), match.start())
            inside.append(piece)
            keys.append(0)
            at_key = piece == "{"
        elif piece in ("}", "]"):
            inside.pop()
            keys.pop()
        elif piece == ",":
            at_key = inside[-1] == "{"
            if not at_key:
                keys[-1] = int(keys[-1]) + 1
        elif piece == ":":
            at_key = False
        elif at_key:
            keys[-1] = json.loads(piece)
            if marks.has_key(tuple(keys)):
                marks.twice.append(tuple(keys))
            marks.add_key(tuple(keys), match.start())
        else:
            marks.add_value(tuple(keys), match.start())
    return marks


_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]|[.\[\]]")


def keys_of(place: str) -> Keys:
    """The keys in a text such as `permissions[0].reason`."""
    return tuple(
        int(match[2]) if match[2] else match[1]
        for match in _STEP.finditer(place)
        if match[1] or match[2]
    )
