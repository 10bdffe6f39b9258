"""The permissions that there are: `resource:action[:scope]`, one grammar and one table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Self

from .event_names import EVENT
from .hook_names import HOOK, HOOK_WORDS
from .scopes import HOST, PATH, PATTERN, VARIABLE, ScopeGrammar

__all__ = ["PERMISSIONS", "Permission", "PermissionKind", "Scope"]


class Scope(Enum):
    """What may stand behind the action."""

    NONE = "none"
    OPTIONAL = "optional"
    """Without a scope the permission holds for everything; `*` in one stands for any text."""
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class PermissionKind:
    """One row of the table."""

    scope: Scope
    means: str
    """What a plugin that has it may do: `it may ...`."""
    scoped: str = ""
    """The same with a scope, which stands for `{}`."""
    grammar: ScopeGrammar = PATTERN
    needs_reason: bool = False
    """Whether the manifest must say why: it reaches beyond what the host does for a plugin."""
    each: Mapping[str, str] = field(default_factory=dict)
    """What it means with one scope, where each scope means something else."""


PERMISSIONS: Final = {
    "tools:register": PermissionKind(Scope.NONE, "offer tools"),
    "tools:execute": PermissionKind(
        Scope.OPTIONAL, "call the tools of other plugins", "call the tool {}"
    ),
    "events:subscribe": PermissionKind(
        Scope.OPTIONAL, "receive events", "receive the event {}", EVENT
    ),
    "events:emit": PermissionKind(Scope.OPTIONAL, "send events", "send the event {}", EVENT),
    "storage:read": PermissionKind(Scope.NONE, "read what it has stored"),
    "storage:write": PermissionKind(Scope.NONE, "store and delete values of its own"),
    "http:outbound": PermissionKind(
        Scope.OPTIONAL,
        "make HTTP requests through the host",
        "make HTTP requests through the host, to {}",
        HOST,
    ),
    "scheduler:read": PermissionKind(Scope.NONE, "list its scheduled tasks"),
    "scheduler:write": PermissionKind(Scope.NONE, "schedule and cancel tasks"),
    "memory:read": PermissionKind(Scope.NONE, "search the memories of users"),
    "memory:write": PermissionKind(Scope.NONE, "add to the memories of users"),
    "users:read": PermissionKind(Scope.NONE, "read users and their preferences"),
    "services:provide": PermissionKind(
        Scope.OPTIONAL, "offer services to other plugins", "offer the service {} to other plugins"
    ),
    "services:use": PermissionKind(
        Scope.OPTIONAL, "use the services of other plugins", "use the service {} of other plugins"
    ),
    "hooks:register": PermissionKind(
        Scope.OPTIONAL,
        "take part in all hooks: change and stop the events that it may receive, and see, change "
        "and refuse the parameters and results of every call of every plugin's tools",
        "take part in the hook {}",
        HOOK,
        each=HOOK_WORDS,
    ),
    "commands:register": PermissionKind(Scope.NONE, "add commands to the application"),
    "ui:panel": PermissionKind(Scope.NONE, "show a panel in the application"),
    "fs:read": PermissionKind(
        Scope.REQUIRED, "read files below a path", "read {} and all below it", PATH, True
    ),
    "fs:write": PermissionKind(
        Scope.REQUIRED,
        "read and write files below a path",
        "read and write {} and all below it",
        PATH,
        True,
    ),
    "net:connect": PermissionKind(
        Scope.REQUIRED, "connect to a host by itself", "connect to {} by itself", HOST, True
    ),
    "process:spawn": PermissionKind(Scope.NONE, "start processes", needs_reason=True),
    "env:read": PermissionKind(
        Scope.REQUIRED,
        "see a variable of the host's environment",
        "see the variable {} of the host's environment",
        VARIABLE,
        True,
    ),
}

# Whoever has the one on the left has that on the right, for the same scope.
_IMPLIES: Final = {"fs:write": "fs:read"}

_TEXT: Final = re.compile(r"([a-z]+:[a-z]+)(?::(\S|\S.*\S))?", re.DOTALL)
_SHOWN: Final = 100  # characters of a text that is refused


@dataclass(frozen=True, slots=True, order=True)
class Permission:
    """One permission, asked for or granted."""

    name: str
    """`resource:action`."""
    scope: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `ValueError`, with the reason in words, for what is no permission."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text[:_SHOWN]!r} is no permission: "
                "write resource:action or resource:action:scope"
            )
        name, scope = match[1], match[2] or ""
        kind = PERMISSIONS.get(name)
        if kind is None:
            raise ValueError(
                f"there is no permission {name[:_SHOWN]!r}; there are {', '.join(PERMISSIONS)}"
            )
        if kind.scope is Scope.NONE and scope:
            raise ValueError(f"{name} takes no scope, so {text[:_SHOWN]!r} is no permission")
        if kind.scope is Scope.REQUIRED and not scope:
            raise ValueError(f"{name} needs a scope: {name}:SOMETHING")
        try:
            return cls(name, kind.grammar.parse(scope) if scope else "")
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from exc

    @property
    def kind(self) -> PermissionKind:
        """Its row of the table."""
        return PERMISSIONS[self.name]

    @property
    def is_path(self) -> bool:
        """Whether its scope is a path of the file system."""
        return self.kind.grammar is PATH

    def covers(self, name: str, scope: str = "") -> bool:
        """Whether this permission allows `name` for the thing `scope`."""
        if name not in (self.name, _IMPLIES.get(self.name)):
            return False
        return not self.scope or self.kind.grammar.matches(self.scope, scope)

    def includes(self, other: "Permission") -> bool:
        """Whether whoever has this permission has the other one: it is equal or wider."""
        if other.name not in (self.name, _IMPLIES.get(self.name)):
            return False
        if not self.scope or self.scope == other.scope:
            return True
        return bool(other.scope) and self.kind.grammar.includes(self.scope, other.scope)

    def in_words(self) -> str:
        """What a plugin that has it may do: `it may ...`."""
        if not self.scope:
            return self.kind.means
        words = self.kind.scoped.format(self.scope)
        each = self.kind.each.get(self.scope)
        return f"{words}: {each}" if each else words

    def __str__(self) -> str:
        return f"{self.name}:{self.scope}" if self.scope else self.name
