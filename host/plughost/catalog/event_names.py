"""Names of events, and patterns over them: segments, separated by `.` or `:`.

Both separators are equal: `session:created` and `session.created` are one event. A `*` stands for
one segment, and at the end of a pattern for one or more: `*` alone is every event.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["ALIASES", "EVENT", "MAX_EVENT_NAME", "EventPattern", "plain_event_name"]

MAX_EVENT_NAME: Final = 200
"""Characters of a name, or of a pattern."""

ALIASES: Final = {
    "plugin_loaded": "plugin.loaded",
    "plugin_unloaded": "plugin.unloaded",
    "tool.executed": "tool.after_execute",
}
"""Other names that the host's own events are known by, wherever a name or a pattern is given."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(?:[.:][A-Za-z0-9_-]+)*")
_PATTERN: Final = re.compile(r"(?:[A-Za-z0-9_-]+|\*)(?:[.:](?:[A-Za-z0-9_-]+|\*))*")
_SHOWN: Final = 60  # characters of a text that is refused


def plain_event_name(text: str) -> str:
    """The name in its one form, by which events are matched. Raises `ValueError`."""
    if len(text) > MAX_EVENT_NAME or _NAME.fullmatch(text) is None:
        raise ValueError(_refusal(text, "event's name", ""))
    plain = text.replace(":", ".")
    return ALIASES.get(plain, plain)


@dataclass(frozen=True, slots=True)
class EventPattern:
    """A pattern, or a name, which is a pattern that matches one name."""

    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ValueError`, with the reason in words, for what is no pattern."""
        if len(text) > MAX_EVENT_NAME or _PATTERN.fullmatch(text) is None:
            raise ValueError(_refusal(text, "pattern of event names", ", or * alone"))
        plain = text.replace(":", ".")
        return cls(tuple(ALIASES.get(plain, plain).split(".")))

    @property
    def is_name(self) -> bool:
        """Whether it matches just one name."""
        return "*" not in self.segments

    def matches(self, name: str) -> bool:
        """Whether the event of this plain name is one of those."""
        return self.includes(EventPattern(tuple(name.split("."))))

    def includes(self, other: "EventPattern") -> bool:
        """Whether all that `other` matches is matched here, too."""
        ours, theirs = self.segments, other.segments
        if ours[-1] == "*":
            # Theirs may be longer, and where it is open as well, it must not be shorter.
            if len(theirs) < len(ours):
                return False
            ours = ours[:-1]
        elif len(theirs) != len(ours) or theirs[-1] == "*":
            return False
        return all(one in ("*", two) for one, two in zip(ours, theirs, strict=False))

    def __str__(self) -> str:
        return ".".join(self.segments)


class _EventScope:
    """The scope of the permissions for events: a name or a pattern."""

    def parse(self, text: str) -> str:
        return str(EventPattern.parse(text))

    def matches(self, scope: str, value: str) -> bool:
        return self.includes(scope, value)

    def includes(self, wide: str, narrow: str) -> bool:
        try:
            return EventPattern.parse(wide).includes(EventPattern.parse(narrow))
        except ValueError:
            return False


EVENT: Final = _EventScope()


def _refusal(text: str, what: str, more: str) -> str:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    if len(text) > MAX_EVENT_NAME:
        return f"{shown!r} is no {what}: it has {len(text)} characters, of {MAX_EVENT_NAME} at most"
    return (
        f"{shown!r} is no {what}: write segments of letters, digits, _ and -, without spaces, "
        f"separated by . or :{more}"
    )
