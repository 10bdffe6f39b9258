"""The commands in the order and under the titles that the help shows."""

from typing import Any, Final

from typer.core import TyperGroup

__all__ = ["CommandGroups"]

_GROUPS: Final = {
    "Run plugins": ("run", "dev"),
    "Ask the running host": ("list", "health", "tools", "call", "events"),
    "Change what it runs": (
        "load",
        "unload",
        "reload",
        "canary",
        "enable",
        "disable",
        "activate",
        "configure",
    ),
    "Grants, configuration, users": ("grants", "grant", "revoke", "config", "users"),
    "Write plugins": ("new", "check", "schema"),
    "Look at the sandbox": ("doctor", "show", "attack"),
}


class CommandGroups(TyperGroup):
    """`plughost --help`."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's
        return [name for names in _GROUPS.values() for name in names]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - typer's
        longest = max(map(len, self.commands))
        for title, names in _GROUPS.items():
            room = formatter.width - 6 - longest
            texts = [self.commands[name].get_short_help_str(room) for name in names]
            with formatter.section(title):
                # One column for all groups.
                rows = [(n.ljust(longest), text) for n, text in zip(names, texts, strict=True)]
                formatter.write_dl(rows)
