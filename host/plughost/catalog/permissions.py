"""The permissions that there are: `resource:action[:scope]`, one grammar and one table."""

import re
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final, Self

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


PERMISSIONS: Final = {
    "tools:register": PermissionKind(Scope.NONE, "offer tools"),
    "tools:execute": PermissionKind(Scope.OPTIONAL, "call the tools of other plugins"),
    "events:subscribe": PermissionKind(Scope.OPTIONAL, "receive events"),
    "events:emit": PermissionKind(Scope.OPTIONAL, "send events"),
    "storage:read": PermissionKind(Scope.NONE, "read what it has stored"),
    "storage:write": PermissionKind(Scope.NONE, "store and delete values of its own"),
    "http:outbound": PermissionKind(Scope.OPTIONAL, "make HTTP requests through the host"),
    "scheduler:read": PermissionKind(Scope.NONE, "list its scheduled tasks"),
    "scheduler:write": PermissionKind(Scope.NONE, "schedule and cancel tasks"),
    "memory:read": PermissionKind(Scope.NONE, "search the memories of users"),
    "memory:write": PermissionKind(Scope.NONE, "add to the memories of users"),
    "users:read": PermissionKind(Scope.NONE, "read users and their preferences"),
    "services:provide": PermissionKind(Scope.OPTIONAL, "offer services to other plugins"),
    "services:use": PermissionKind(Scope.OPTIONAL, "use the services of other plugins"),
    "hooks:register": PermissionKind(Scope.NONE, "take part in the host's hooks"),
    "commands:register": PermissionKind(Scope.NONE, "add commands to the application"),
    "ui:panel": PermissionKind(Scope.NONE, "show a panel in the application"),
    "fs:read": PermissionKind(Scope.REQUIRED, "read files below a path"),
    "fs:write": PermissionKind(Scope.REQUIRED, "write files below a path"),
    "net:connect": PermissionKind(Scope.REQUIRED, "connect to a host by itself"),
    "process:spawn": PermissionKind(Scope.NONE, "start processes"),
    "env:read": PermissionKind(Scope.REQUIRED, "see a variable of the host's environment"),
}

_TEXT: Final = re.compile(r"([a-z]+:[a-z]+)(?::(\S+))?")


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
                f"{text!r} is no permission: write resource:action or resource:action:scope"
            )
        name, scope = match[1], match[2] or ""
        kind = PERMISSIONS.get(name)
        if kind is None:
            raise ValueError(f"there is no permission {name!r}; there are {', '.join(PERMISSIONS)}")
        if kind.scope is Scope.NONE and scope:
            raise ValueError(f"{name} takes no scope, so {text!r} is no permission")
        if kind.scope is Scope.REQUIRED and not scope:
            raise ValueError(f"{name} needs a scope: {name}:SOMETHING")
        return cls(name, scope)

    def covers(self, name: str, scope: str = "") -> bool:
        """Whether this permission allows `name` for `scope`."""
        return self.name == name and (not self.scope or fnmatchcase(scope, self.scope))

    def __str__(self) -> str:
        return f"{self.name}:{self.scope}" if self.scope else self.name
