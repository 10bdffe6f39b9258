"""What a plugin needs of others: plugins with ranges of versions, and services."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from .versions import fits, range_problem

__all__ = ["Dependencies", "Dependency", "DependencyEntry", "read_dependencies"]

_MAX_DEPENDENCIES: Final = 100
_ID: Final = r"[a-z][a-z0-9-]{0,63}"
_SERVICE: Final = r"[A-Za-z_][A-Za-z0-9_-]{0,63}"
_WRITTEN: Final = re.compile(
    rf"(?:service:(?P<service>{_SERVICE})|(?P<id>{_ID}))(?P<optional>\?)?\s*(?P<range>[\^~<>=!*].*)?"
)

_Range: TypeAlias = Annotated[str, Meta(max_length=200)]


class DependencyEntry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A plugin or a service that is needed, where a text would not do."""

    id: Annotated[str, Meta(pattern=rf"^{_ID}\Z")] | None = None
    """Another plugin; either this or `service`."""
    service: Annotated[str, Meta(pattern=rf"^{_SERVICE}\Z")] | None = None
    """A service, whoever provides it."""
    version: _Range = ""
    """The versions of the plugin that will do, such as `>=1.2,<2`."""
    optional: bool = False
    """Whether this plugin starts without it."""


Dependencies: TypeAlias = Annotated[
    list[Annotated[str, Meta(max_length=300)] | DependencyEntry],
    Meta(max_length=_MAX_DEPENDENCIES),
]


@dataclass(frozen=True, slots=True)
class Dependency:
    """One plugin, or one service of whichever plugin, that another needs."""

    name: str
    """The plugin's id, or the service's name."""
    range: str = ""
    """The versions that will do; empty for all."""
    optional: bool = False
    is_service: bool = False

    def accepts(self, version: str) -> bool:
        """Whether a plugin of this version will do."""
        return fits(version, self.range)

    def in_words(self) -> str:
        """Such as `cache>=2` or `the service cache`."""
        return f"the service {self.name}" if self.is_service else f"{self.name}{self.range}"

    def __str__(self) -> str:
        kind, mark = "service:" if self.is_service else "", "?" if self.optional else ""
        return f"{kind}{self.name}{mark}{self.range}"


def read_dependencies(
    written: Sequence[str | DependencyEntry], problems: list[str]
) -> tuple[Dependency, ...]:
    """What is needed; what cannot be is added to `problems`, each with its place."""
    found: dict[tuple[bool, str], Dependency] = {}
    for number, entry in enumerate(written):
        place = f"dependencies[{number}]"
        made = _of_text(entry) if isinstance(entry, str) else _of_entry(entry)
        if isinstance(made, str):
            problems.append(f"{place}: {made}")
            continue
        if made.range and (problem := range_problem(made.range)):
            problems.append(f"{place}: {problem}")
            continue
        key = (made.is_service, made.name)
        if key in found:
            problems.append(f"{place}: {made.name} is named twice: name it once, with one range")
        found[key] = made
    return tuple(found.values())


def _of_text(text: str) -> Dependency | str:
    """The dependency, or what is wrong with the text."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        return (
            f"{text!r} is no dependency: write a plugin's id such as 'cache', 'cache>=1.2,<2', "
            "'cache?' where it is optional, or 'service:cache'"
        )
    wanted = "".join((match["range"] or "").split())
    if match["service"] and wanted:
        return f"{text!r}: a service has no version: write 'service:{match['service']}'"
    name = match["service"] or match["id"]
    return Dependency(name, wanted, bool(match["optional"]), is_service=bool(match["service"]))


def _of_entry(entry: DependencyEntry) -> Dependency | str:
    if (entry.id is None) == (entry.service is None):
        return "has both an id and a service, or neither: write one of them"
    if entry.service is not None:
        if entry.version:
            return "a service has no version: leave it out"
        return Dependency(entry.service, optional=entry.optional, is_service=True)
    return Dependency(str(entry.id), "".join(entry.version.split()), entry.optional)
