"""When a plugin is started: with the host, or at its first use."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Self, TypeAlias

from msgspec import Meta

from plughost.config import HostConfig
from plughost.errors import HostMisuse

from .event_names import EventPattern

__all__ = ["ACTIVATIONS", "Activation", "ActivationEntry"]

ActivationEntry: TypeAlias = Annotated[str, Meta(min_length=1, max_length=300)]
"""One way to be started, such as `tool` or `event:session.*`."""

ACTIVATIONS: Final = {
    "start": "with the host, as every plugin that names nothing",
    "tool": "by a call of one of its tools",
    "service": "by a call of one of its services",
    "event": "by an event that it subscribes to; `event:PATTERN`: by these events only",
    "hook": "by what it has a hook for",
    "schedule": "by a scheduled task that is due",
    "command": "`command:NAME`: by this command, see `Host.activate`",
}
"""The ways, and what each means."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What starts a plugin."""

    is_lazy: bool = False
    """Whether it is started at its first use only."""
    events: tuple[EventPattern, ...] = ()
    """While it sleeps, it hears of these events."""
    hooks: bool = False
    """Whether its hooks run while it sleeps: each starts it."""
    schedule: bool = False
    """Whether its tasks run while it sleeps."""
    commands: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Raises `ValueError`, in words, for what is no way to be started."""
        named = list(entries)
        kinds: dict[str, set[str]] = {}
        for entry in named:
            kind, colon, detail = entry.partition(":")
            if kind not in ACTIVATIONS or (colon and kind not in ("event", "command")):
                ways = ", ".join(ACTIVATIONS).replace("command", "command:NAME")
                raise ValueError(f"{entry[:60]!r} starts nothing: there are {ways}, event:PATTERN")
            if kind == "command" and not detail:
                raise ValueError("'command' is incomplete: write command:NAME")
            kinds.setdefault(kind, set()).add(detail if colon else "*")
        if "start" in kinds and len(kinds) > 1:
            raise ValueError("'start' stands alone: what starts with the host needs no other way")
        return cls(
            is_lazy=bool(kinds) and "start" not in kinds,
            events=tuple(EventPattern.parse(text) for text in sorted(kinds.get("event", ()))),
            hooks="hook" in kinds,
            schedule="schedule" in kinds,
            commands=frozenset(kinds.get("command", ())),
        )

    @classmethod
    def check(cls, config: HostConfig) -> None:
        """Raises `HostMisuse` where the operator names a way that there is not."""
        for plugin_id, own in config.plugins.items():
            try:
                cls.parse(own.activation or ())
            except ValueError as exc:
                raise HostMisuse(f"plugins.{plugin_id}.activation: {exc}") from exc

    def hears(self, pattern: EventPattern) -> bool:
        """Whether a subscription to these events stands while it sleeps."""
        return any(own.includes(pattern) for own in self.events)
