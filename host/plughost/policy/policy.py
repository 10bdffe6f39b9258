"""What one plugin may do: what its manifest asks for and the operator grants."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from plughost.catalog.asks import Ask
from plughost.catalog.granted_paths import path_problem
from plughost.catalog.permissions import PERMISSIONS, Permission
from plughost.errors import PermissionDenied

from .grants import grant_command, granted_to

__all__ = ["Policy"]


class Policy:
    """The effective permissions of one plugin. Deny is the default."""

    def __init__(
        self, plugin_id: str, asks: Iterable[Ask], grants: Mapping[str, Sequence[str]]
    ) -> None:
        """`grants` are those of all plugins. Raises `HostMisuse` for one that cannot be."""
        self.plugin_id = plugin_id
        self.asks = tuple(asks)
        given = granted_to(plugin_id, grants)
        self.granted = tuple(ask.permission for ask in self.asks if given.covers(ask.permission))
        """What it asks for and may do, as it asks for it."""
        self.missing = tuple(ask for ask in self.asks if not given.covers(ask.permission))
        """What it asks for and may not do."""

    def refusal(self, protected: Callable[[], Iterable[Path]] = tuple) -> str:
        """Why the plugin must not be started, or nothing.

        `protected` gives the paths that are never granted. It is asked only for a plugin that has
        paths: there are as many as plugins, and each is followed to where it leads.
        """
        needed = [ask.permission for ask in self.missing if not ask.optional]
        if needed:
            return (
                f"it asks for {', '.join(map(str, needed))}, which is not granted: "
                f"{grant_command(self.plugin_id, needed)}"
            )
        paths = [permission for permission in self.granted if permission.is_path]
        forbidden = tuple(protected()) if paths else ()
        for permission in paths:
            if why := path_problem(permission, forbidden):
                return f"it is granted {permission}, which cannot be: {why}"
        return ""

    def scopes(self, name: str) -> tuple[str, ...]:
        """The scopes that it has of one permission: paths, hosts, variables."""
        return tuple(permission.scope for permission in self.granted if permission.name == name)

    def allows(self, name: str, scope: str = "") -> bool:
        """Whether the plugin has the permission `name` for `scope`."""
        return any(permission.covers(name, scope) for permission in self.granted)

    def check(self, name: str, scope: str = "") -> None:
        """Raises `PermissionDenied`, naming what is missing, unless the plugin may."""
        if not self.allows(name, scope):
            asked = next(
                (ask.permission for ask in self.missing if ask.permission.covers(name, scope)), None
            )
            wanted = Permission(name, scope)
            raise PermissionDenied(
                self.plugin_id,
                str(wanted),
                PERMISSIONS[name].each.get(scope) or PERMISSIONS[name].means,
                asked=asked is not None,
                remedy=grant_command(self.plugin_id, [asked or wanted]),
            )

    def __repr__(self) -> str:
        return f"<Policy {self.plugin_id}: {', '.join(map(str, self.granted)) or 'nothing'}>"
