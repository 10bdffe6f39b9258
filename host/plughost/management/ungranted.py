"""A plugin that asks for more than it is granted, as people and programs are told of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plughost.catalog.asks import Ask
from plughost.policy.grants import grant_command
from plughost_protocol import ErrorCode

from .problems import Problem

__all__ = ["Ungranted"]


@dataclass(frozen=True, slots=True)
class Ungranted:
    """What a plugin asks for and is not granted, and where the operator looked."""

    plugin_id: str
    missing: tuple[Ask, ...]
    """Optional permissions too."""
    folders: Sequence[Path]
    """Those that were named; none for the search path."""
    file: Path | None = None
    """The file with the grants, if one was named."""

    @property
    def needed(self) -> tuple[Ask, ...]:
        """What it does not start without."""
        return tuple(ask for ask in self.missing if not ask.optional)

    def command(self) -> str:
        """What to type to grant what it needs."""
        permissions = [ask.permission for ask in self.needed]
        # ./plugins is on the search path.
        named = [] if list(self.folders) == [Path("plugins")] else self.folders
        return grant_command(self.plugin_id, permissions, named, self.file)

    def problem(self, more: str = "") -> Problem:
        """Why it does not start."""
        asked = [f"{ask.permission} ({ask.permission.in_words()})" for ask in self.needed]
        return Problem(
            f"plugin {self.plugin_id} asks for what is not granted",
            f"it asks for {', '.join(asked)}{more}",
            self.command(),
            code=ErrorCode.PERMISSION_DENIED,
        )

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        missing = [
            {
                "permission": str(ask.permission),
                "means": ask.permission.in_words(),
                "reason": ask.reason,
                "optional": ask.optional,
            }
            for ask in self.missing
        ]
        return {"id": self.plugin_id, "missing": missing, "command": self.command()}
