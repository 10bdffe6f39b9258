"""From the name of an event to those that receive it, without a look at each pattern."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from plughost.catalog.event_names import EventPattern, plain_event_name

from .errors import InvalidEvent

__all__ = ["PatternIndex", "parse_pattern", "plain_name"]

T = TypeVar("T")
U = TypeVar("U")

_CACHED: Final = 4096  # names whose receivers are remembered


def plain_name(text: str) -> str:
    """The name in its one form. Raises `InvalidEvent`."""
    try:
        return plain_event_name(text)
    except ValueError as exc:
        raise InvalidEvent("", str(exc)) from exc


def parse_pattern(text: str) -> EventPattern:
    """Raises `InvalidEvent`."""
    try:
        return EventPattern.parse(text)
    except ValueError as exc:
        raise InvalidEvent("", str(exc)) from exc


class PatternIndex(Generic[T]):
    """Things by pattern, found by name in the order in which they were added."""

    def __init__(self) -> None:
        self.changed: Callable[[], None] = lambda: None
        """Called when something was added or removed."""
        self._exact: dict[str, dict[T, int]] = {}
        # By the first segment, which is `*` for those that look into every event.
        self._open: dict[str, dict[T, tuple[int, EventPattern]]] = {}
        self._patterns: dict[T, EventPattern] = {}
        self._added = 0
        self._found: dict[str, tuple[T, ...]] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def add(self, pattern: EventPattern, item: T) -> None:
        """Find `item` by all names of the pattern. An item has one pattern."""
        self._added += 1
        self._patterns[item] = pattern
        if pattern.is_name:
            self._exact.setdefault(str(pattern), {})[item] = self._added
        else:
            self._open.setdefault(pattern.segments[0], {})[item] = (self._added, pattern)
        self._found.clear()
        self.changed()

    def remove(self, item: T) -> None:
        """Find it no more; what is not there is no error."""
        pattern = self._patterns.pop(item, None)
        if pattern is None:
            return
        if pattern.is_name:
            _remove(self._exact, str(pattern), item)
        else:
            _remove(self._open, pattern.segments[0], item)
        self._found.clear()
        self.changed()

    def match(self, name: str) -> tuple[T, ...]:
        """Those whose pattern matches a plain name."""
        found = self._found.get(name)
        if found is None:
            # A plugin may emit under ever new names.
            if len(self._found) >= _CACHED:
                self._found.clear()
            found = self._found[name] = self._search(name)
        return found

    def _search(self, name: str) -> tuple[T, ...]:
        found = [(number, item) for item, number in self._exact.get(name, {}).items()]
        asked = EventPattern(tuple(name.split(".")))
        for first in (asked.segments[0], "*"):
            found += [
                (number, item)
                for item, (number, pattern) in self._open.get(first, {}).items()
                if pattern.includes(asked)
            ]
        return tuple(item for _, item in sorted(found, key=lambda pair: pair[0]))


def _remove(places: dict[str, dict[T, U]], place: str, item: T) -> None:
    del places[place][item]
    if not places[place]:
        del places[place]
