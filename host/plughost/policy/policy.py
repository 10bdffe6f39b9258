"""What one plugin may do."""

from collections.abc import Iterable

from plughost.catalog.permissions import PERMISSIONS, Permission
from plughost.errors import PermissionDenied

__all__ = ["Policy"]


class Policy:
    """The effective permissions of one plugin. Deny is the default."""

    def __init__(self, plugin_id: str, granted: Iterable[Permission]) -> None:
        self.plugin_id = plugin_id
        self.granted = tuple(granted)

    def allows(self, name: str, scope: str = "") -> bool:
        """Whether the plugin has the permission `name` for `scope`."""
        return any(permission.covers(name, scope) for permission in self.granted)

    def check(self, name: str, scope: str = "") -> None:
        """Raises `PermissionDenied`, naming what is missing, unless the plugin may."""
        if not self.allows(name, scope):
            raise PermissionDenied(
                self.plugin_id, str(Permission(name, scope)), PERMISSIONS[name].means
            )

    def __repr__(self) -> str:
        return f"<Policy {self.plugin_id}: {', '.join(map(str, self.granted)) or 'nothing'}>"
