"""A setting that somebody made, and where."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from plughost.catalog.marks import NO_MARK, Mark
from plughost.errors import ConfigError

from .shape import Keys

__all__ = ["DEFAULT", "Level", "Origin", "Setting", "Settings"]


class Level(StrEnum):
    """What kind of place a setting comes from; a later one wins."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting was made."""

    level: Level
    name: str = ""
    """The file's path, the variable or the option."""
    mark: Mark = NO_MARK

    def error(self, problem: str) -> ConfigError:
        """A mistake that was made there."""
        path = Path(self.name) if self.level is Level.FILE else self.name
        return ConfigError(path, problem, *self.mark)

    def __str__(self) -> str:
        if self.level is Level.DEFAULT:
            return "default"
        return f"{self.name}:{self.mark.line}" if self.mark.line else self.name


DEFAULT: Final = Origin(Level.DEFAULT)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, as its type has it."""

    keys: Keys
    value: Any
    origin: Origin


@dataclass(slots=True)
class Settings:
    """All that was set, each setting at its last place, and what is wrong with it."""

    made: dict[Keys, Setting]
    problems: list[ConfigError]

    def add(self, level: "Settings") -> None:
        """Put the settings of a further place over those that are there.

        Grants are added up: a file takes back nothing that another one grants.
        """
        self.problems += level.problems
        for keys, setting in level.made.items():
            before = self.made.get(keys)
            if keys[0] == "grants" and before is not None:
                both = (*before.value, *setting.value)
                setting = Setting(keys, tuple(dict.fromkeys(both)), setting.origin)
            self.made[keys] = setting

    def override(self, options: "Settings") -> None:
        """Put the command line's settings over all, those of single plugins included."""
        for keys in list(self.made):
            if keys[0] == "plugins" and keys[2:] in options.made:
                del self.made[keys]
        self.add(options)

    def below(self, keys: Keys) -> Mapping[Keys, Setting]:
        """What is set in one table."""
        return {made: setting for made, setting in self.made.items() if made[: len(keys)] == keys}
