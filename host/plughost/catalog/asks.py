"""What a manifest asks for: its permissions, each with its reason, in the forms it may have."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from .permissions import Permission

__all__ = ["Ask", "Asked", "PermissionEntry", "PermissionGroups", "read_asks"]

_MAX_ASKS: Final = 100  # a person is to read them
_GROUPS: Final = ("fileSystem", "network", "events")

Reason = Annotated[str, Meta(max_length=300)]


class PermissionEntry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A permission with more to say of it than its text."""

    permission: str
    """Such as `net:connect:api.example.com`."""
    reason: Reason = ""
    """Why the plugin needs it, for the operator who grants it."""
    optional: bool = False
    """Whether the plugin starts without it."""


Entries = Annotated[list[str | PermissionEntry], Meta(max_length=_MAX_ASKS)]
Names = Annotated[list[str], Meta(max_length=_MAX_ASKS)]


class PermissionGroups(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, rename="camel"
):
    """The permissions by what they are for, each false, or a list."""

    file_system: bool | Names = False
    """Paths to read; with `:rw` behind them, to write too."""
    network: bool | Names = False
    """Hosts, such as `api.example.com` or `api.example.com:8443`."""
    events: bool | Names = False
    """Events to receive; true for all."""
    reasons: dict[str, Reason] = {}
    """Why, by the name of the group."""
    others: Entries = []
    """All that is no file, host or event, as in a list of permissions."""


Asked: TypeAlias = Entries | PermissionGroups


@dataclass(frozen=True, slots=True)
class Ask:
    """One permission that a plugin asks for."""

    permission: Permission
    reason: str = ""
    optional: bool = False


def read_asks(asked: Asked, problems: list[str]) -> tuple[Ask, ...]:
    """What is asked for; what cannot be is added to `problems`, each with its place."""
    asks: dict[Permission, Ask] = {}
    if isinstance(asked, PermissionGroups):
        written = _of_groups(asked, problems)
    else:
        written = _of_list(asked, "permissions")
    for place, entry, needs_no_reason in written:
        try:
            permission = Permission.parse(entry.permission)
        except ValueError as exc:
            problems.append(f"{place}: {exc}")
            continue
        reason = entry.reason.strip()
        if permission.kind.needs_reason and not (reason or needs_no_reason):
            problems.append(
                f"{place}: {permission.name} needs a reason, which the operator reads before "
                f'granting it: write {{"permission": "{permission}", "reason": "..."}}'
            )
        if permission in asks:
            problems.append(f"{place}: {permission} is asked for twice")
        asks[permission] = Ask(permission, reason, entry.optional)
    if len(asks) > _MAX_ASKS:
        problems.append(f"permissions: {len(asks)} are asked for; at most {_MAX_ASKS} can be")
    return tuple(asks.values())


_Written: TypeAlias = Iterator[tuple[str, PermissionEntry, bool]]


def _of_list(entries: Entries, place: str) -> _Written:
    for number, entry in enumerate(entries):
        made = PermissionEntry(entry) if isinstance(entry, str) else entry
        yield f"{place}[{number}]", made, False


def _of_groups(groups: PermissionGroups, problems: list[str]) -> _Written:
    # This form has no place for a reason beside each name: one for the group will do, or none.
    problems += [
        f"permissions.reasons.{name}: is no group; there are {', '.join(_GROUPS)}"
        for name in groups.reasons
        if name not in _GROUPS
    ]
    for group, names, remedy in (
        ("fileSystem", groups.file_system, 'name the paths, such as ["/srv/data", "/srv/out:rw"]'),
        ("network", groups.network, 'name the hosts, such as ["api.example.com"]'),
        ("events", groups.events, ""),
    ):
        place = f"permissions.{group}"
        reason = groups.reasons.get(group, "")
        if names is True and remedy:
            problems.append(f"{place}: true is too wide: {remedy}")
        elif names is True:
            yield place, PermissionEntry("events:subscribe", reason), True
        for number, name in enumerate([] if isinstance(names, bool) else names):
            entry = PermissionEntry(_permission_of(group, name), reason)
            yield f"{place}[{number}]", entry, True
    yield from _of_list(groups.others, "permissions.others")


def _permission_of(group: str, name: str) -> str:
    if group == "network":
        return f"net:connect:{name}"
    if group == "events":
        return f"events:subscribe:{name}"
    if name.endswith(":rw"):
        return f"fs:write:{name.removesuffix(':rw')}"
    return f"fs:read:{name.removesuffix(':ro')}"
