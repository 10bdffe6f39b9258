"""How large a schema and a value may be, and what counts as JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from plughost.errors import PlughostError

_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1  # what MessagePack can carry
_MESSAGE_LENGTH = 80

type_name = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "an array",
    tuple: "an array",
    dict: "an object",
}


@dataclass(frozen=True, slots=True)
class SchemaLimits:
    """What one plugin's schema, and one check against it, may cost the host."""

    max_bytes: int = 64 * 1024
    max_depth: int = 32
    max_nodes: int = 2000
    # Schemas applied to one place of a value, references expanded.
    max_cost: int = 10_000
    # Schemas applied to the same place one within the other; each takes native stack.
    max_chain: int = 24
    max_patterns: int = 64
    max_pattern_length: int = 1000
    # Characters of a value times patterns; the slowest pattern does 200,000 a second.
    max_pattern_text: int = 500_000
    max_value_depth: int = 64
    max_values: int = 200_000
    # Places of a value times their cost; the slowest schema does some ten million a second.
    max_work: int = 20_000_000


class SchemaRefused(PlughostError):
    """Raised when a schema is not one, or could cost the host too much; never for a value.

    `path` is a JSON pointer into the schema.
    """

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(
            f"the schema is refused at {shown(path) or 'its root'}: {reason}: {remedy}"
        )
        self.path = path
        self.reason = reason
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["SchemaRefused"], tuple[str, str, str]]:
        return type(self), (self.path, self.reason, self.remedy)


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """One thing wrong with a value: where in it (`$.items[3].name`), and a short sentence."""

    path: str
    reason: str


def shown(text: str) -> str:
    """The text fit for a terminal: control characters escaped, at most 80 characters."""
    head = text[: _MESSAGE_LENGTH + 1]
    safe = "".join(c if c.isprintable() else repr(c)[1:-1] for c in head)
    return safe if len(safe) <= _MESSAGE_LENGTH else safe[: _MESSAGE_LENGTH - 3] + "..."


def value_path(steps: Iterator[str | int] | list[str | int]) -> str:
    """The path as people write it: `$.items[3]['first name']`."""
    parts = ["$"]
    for step in steps:
        if isinstance(step, str) and step.isascii() and step.isidentifier():
            parts.append(f".{shown(step)}")
        else:
            parts.append(f"[{shown(repr(step))}]")
    return "".join(parts)


def count_json(value: object, max_depth: int, max_nodes: int) -> int:  # noqa: C901 - the hot path, in one piece
    """The number of values in a JSON value; 0 if it is not JSON, too deep or too large.

    The engines look only where the schema does, so what they would not meet is judged here.
    A level at a time instead of by recursion: the depth is the sender's to choose.
    """
    seen = 1
    level: list[Any] = [value]  # Any: the kinds are told apart by hand, for speed
    for _ in range(max_depth + 1):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is str:
                if not item.isascii() and not _is_text(item):
                    return 0
            elif kind is int:
                if not _INT_MIN <= item <= _INT_MAX:
                    return 0
            elif kind is dict:
                for key in item:
                    if type(key) is not str or not (key.isascii() or _is_text(key)):
                        return 0
                # One object may stand in a list a thousand times: judged before it adds up.
                if len(item) + len(below) > max_nodes:
                    return 0
                below.extend(item.values())
            elif kind is list or kind is tuple:
                if len(item) + len(below) > max_nodes:
                    return 0
                below.extend(item)
            elif kind is float:
                if not isfinite(item):
                    return 0
            elif item is not None and kind is not bool:
                return 0
        if not below:
            return seen
        seen += len(below)
        if seen > max_nodes:
            return 0
        level = below
    return 0


def json_fault(value: object, max_depth: int, max_nodes: int) -> SchemaProblem:
    """Why `count_json` said 0: the first value that is not JSON, or the limit it passed."""
    level: list[tuple[object, _Steps]] = [(value, None)]
    seen = 1
    for _ in range(max_depth + 1):
        below: list[tuple[object, _Steps]] = []
        for item, steps in level:
            fault = _fault(item)
            if fault:
                where = value_path(_unlinked(steps))
                return SchemaProblem(where, f"not JSON: {fault} at {where}")
            if type(item) is dict:
                below.extend((child, (steps, key)) for key, child in item.items())
            elif isinstance(item, list | tuple):
                if seen + len(below) + len(item) > max_nodes:
                    return SchemaProblem("$", f"is too large: more than {max_nodes} values")
                below.extend((child, (steps, index)) for index, child in enumerate(item))
        if not below:
            break
        seen += len(below)
        if seen > max_nodes:
            return SchemaProblem("$", f"is too large: more than {max_nodes} values")
        level = below
    return SchemaProblem("$", f"is nested more than {max_depth} levels deep")


_Steps = tuple["_Steps", str | int] | None


def _unlinked(steps: _Steps) -> list[str | int]:
    found: list[str | int] = []
    while steps is not None:
        steps, last = steps
        found.append(last)
    return found[::-1]


def _fault(item: object) -> str | None:
    kind = type(item)
    if kind not in type_name:
        return shown(kind.__name__)
    if isinstance(item, str) and not _is_text(item):
        return "a string with half a surrogate pair"
    if isinstance(item, int) and not _INT_MIN <= item <= _INT_MAX:
        return "an integer of more than 64 bits"
    if isinstance(item, float) and not isfinite(item):
        return repr(item)
    if isinstance(item, dict):
        for key in item:
            if type(key) is not str:
                return f"a key that is {shown(type(key).__name__)}"
            if not _is_text(key):
                return "a key with half a surrogate pair"
    return None


def _is_text(item: str) -> bool:
    try:
        item.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_length(value: object) -> int:
    """The characters in all strings and keys of a JSON value that `count_json` has passed."""
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            total += sum(map(len, item))
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return total
