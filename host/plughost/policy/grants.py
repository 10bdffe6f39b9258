"""What the operator grants: permissions by plugin id, out of the configuration or a file."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plughost.catalog.permissions import Permission
from plughost.errors import HostMisuse

__all__ = ["EVERYTHING", "Granted", "check_grants", "grant_command", "granted_to"]

EVERYTHING: Final = "*"
"""As a plugin's id: every plugin. As a permission: whatever the manifest asks for."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The grants that hold for one plugin."""

    everything: bool
    """Whether they hold for whatever it asks for."""
    permissions: tuple[Permission, ...]

    def covers(self, asked: Permission) -> bool:
        """Whether one of them is what is asked for, or wider."""
        return self.everything or any(grant.includes(asked) for grant in self.permissions)


def check_grants(grants: Mapping[str, Sequence[str]]) -> None:
    """Raises `HostMisuse` for a grant of any plugin that is no permission."""
    for plugin_id in grants:
        granted_to(plugin_id, grants)


def granted_to(plugin_id: str, grants: Mapping[str, Sequence[str]]) -> Granted:
    """The grants for one plugin. Raises `HostMisuse` for one that is no permission."""
    everything = False
    permissions = []
    for key in (plugin_id, EVERYTHING):
        texts = grants.get(key, ())
        if isinstance(texts, str):
            raise HostMisuse(f"grants[{key!r}] must be a list of permissions, not {texts!r}")
        for text in texts:
            if text == EVERYTHING:
                everything = True
                continue
            try:
                permissions.append(Permission.parse(text))
            except (TypeError, ValueError) as exc:
                raise HostMisuse(f"grants[{key!r}]: {exc}") from exc
    return Granted(everything, tuple(permissions))


def grant_command(
    plugin_id: str,
    permissions: Iterable[Permission],
    folders: Iterable[Path] = (),
    file: Path | None = None,
) -> str:
    """The command that grants these, as it is typed in a shell."""
    words = ["plughost", "grant", plugin_id, *map(str, permissions)]
    for folder in folders:
        words += ["--dir", str(folder)]
    if file is not None:
        words += ["--file", str(file)]
    return shlex.join(words)
