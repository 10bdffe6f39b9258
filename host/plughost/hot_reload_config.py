"""What an operator decides about plugins that are reloaded when their files change."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from .errors import HostMisuse
from .units import Seconds

__all__ = ["ENVIRONMENT", "HotReload", "OrSwitch", "is_production"]

ENVIRONMENT: Final = "PLUGHOST_ENV"
"""The variable that says what kind of environment this is; in `production` nothing is watched."""


def is_production(environment: Mapping[str, str] | None = None) -> bool:
    """Whether the variable says that this is where users are."""
    variables = os.environ if environment is None else environment
    return variables.get(ENVIRONMENT, "").strip().lower() == "production"


@dataclass(frozen=True, slots=True)
class HotReload:
    """Plugins are reloaded when their files change: for who writes them, not for production."""

    enabled: bool = True
    patterns: tuple[str, ...] = ("*.py", "manifest.json", "pyproject.toml", "package.json")
    """Which files count, by name; with a `/`, by the path from the plugin's folder on."""
    ignore: tuple[str, ...] = ()
    """Files and folders that do not, besides what never is source: `__pycache__`, `.git`..."""
    debounce: Seconds = 0.5
    """So long a plugin's files must have been left alone."""
    paths: tuple[Path, ...] = ()
    """Only what lies in these; empty for all plugins, and the folders where they are looked for."""

    def __post_init__(self) -> None:
        for name in ("patterns", "ignore", "paths"):
            value = getattr(self, name)
            if isinstance(value, str | Path):
                raise HostMisuse(f"HotReload.{name} must be a list, not {str(value)!r}")
            object.__setattr__(self, name, tuple(value))
        object.__setattr__(self, "paths", tuple(Path(path) for path in self.paths))
        if self.debounce <= 0:
            raise HostMisuse(f"HotReload.debounce must be more than 0, not {self.debounce}")
        if not self.patterns:
            raise HostMisuse("HotReload.patterns must name something, such as *.py")


T = TypeVar("T")

if TYPE_CHECKING:

    class OrSwitch(Generic[T]):
        """The type of a field that may be given as true or false, and is the whole thing then."""

        def __get__(self, instance: object, owner: object) -> T: ...
        def __set__(self, instance: object, value: T | bool) -> None: ...

else:

    class OrSwitch:
        def __class_getitem__(cls, kind):
            return kind
