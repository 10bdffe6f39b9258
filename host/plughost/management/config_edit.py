"""Putting values into a `plughost.toml`, which is left as it was if one of them cannot be."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any, Final, Self

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.exceptions import TOMLKitError

from plughost.errors import ConfigError
from plughost.policy.grants_file import read_grants_text
from plughost.settings import build
from plughost.settings.files import GrantFiles, find_grant_files
from plughost.settings.load import merged
from plughost.settings.reading import read_text
from plughost.settings.secret_sources import SecretSource, secret_place
from plughost.settings.shape import Keys, kind_of, switch_in

from .configuration import warn
from .grant_edit import edit_file
from .output import Output
from .problems import CommandFailed, Problem

__all__ = ["HEADER", "PluginValues", "put_value"]

HEADER: Final = "# How plughost runs here. `plughost config` writes here; so may you.\n"


def put_value(files: GrantFiles, document: TOMLDocument, keys: Keys, value: Any) -> None:
    """Set one value in the text of `files.target`. Raises `CommandFailed` if it cannot be."""
    table: Any = document
    for depth, name in enumerate(keys[:-1]):
        if name not in table:
            # The outer tables need no header of their own.
            table[name] = tomlkit.table(is_super_table=depth < len(keys) - 2)
        elif isinstance(on := table[name], bool):
            table[name] = tomlkit.inline_table()
            table[name][switch_in(kind_of(keys[: depth + 1]))] = on
        table = table[name]
    table[keys[-1]] = value
    settings = read_text(files.target, tomlkit.dumps(document))
    name = ".".join(keys)
    for problem in build.check(settings):
        if problem.problem.startswith(name) or keys in settings.made:
            raise CommandFailed(Problem(problem.problem, f"{files.target} is left as it was"))


@dataclass(frozen=True, slots=True)
class PluginValues:
    """New values of plugins, by id, which can be written into a file."""

    files: GrantFiles
    values: Mapping[str, Mapping[str, Any]]
    replace: bool
    """Whether those go that the file has and that are not named."""

    @classmethod
    def prepare(
        cls,
        output: Output,
        values: Mapping[str, Mapping[str, Any]],
        file: Path | None,
        *,
        replace: bool,
    ) -> Self:
        """Raises `CommandFailed` for what cannot be written; nothing is yet."""
        files = find_grant_files((), file, may_be_new=True)
        warn(output, files)
        made = cls(files, values, replace)
        made._refuse_secrets()
        there = files.target.exists()
        made._change(tomlkit.parse(read_grants_text(files.target) if there else HEADER))
        return made

    def write(self) -> None:
        """Write all of them or none. Raises `CommandFailed`: the host has them by now."""
        try:
            edit_file(self.files.target, self._change, HEADER)
        except ConfigError as exc:
            then = "mend that, and give the same command again"
            raise CommandFailed(
                Problem(
                    "the host has the values, and the file has not",
                    str(exc),
                    then,
                    code="internal",
                )
            ) from exc

    def _change(self, document: TOMLDocument) -> None:
        for plugin_id, values in self.values.items():
            table = ("plugins", plugin_id, "config")
            if self.replace:
                document.get("plugins", {}).get(plugin_id, {}).pop("config", None)
            for name, value in values.items():
                keys = (*table, name)
                try:
                    put_value(self.files, document, keys, value)
                except (ValueError, TypeError, TOMLKitError) as exc:
                    raise CommandFailed(
                        Problem(
                            f"{'.'.join(keys)} cannot be kept in a file",
                            "TOML holds no null, no bytes and no mixture of these",
                            "give it without --save: it lasts as long as the host",
                        )
                    ) from exc

    def _refuse_secrets(self) -> None:
        """No file is to hold a secret's value where one said where the secret comes from."""
        made = merged(self.files.read, environ).made
        for plugin_id, values in self.values.items():
            for name, value in values.items():
                keys = ("plugins", plugin_id, "config", name)
                held = made.get(keys)
                source = None if held is None else _source_in(held.value)
                if source is not None:
                    raise CommandFailed(
                        Problem(
                            f"{'.'.join(keys)} is a secret, which no file holds in plain",
                            f"it comes from {source}",
                            "change it there; or give it without --save, for as long as the host",
                        )
                    )
                if _names_a_place(value):
                    raise CommandFailed(
                        Problem(
                            f"{'.'.join(keys)} says where a secret comes from",
                            "a running host takes values, and reads secrets when it starts",
                            f"plughost config set {'.'.join(keys)} '{{secret = {{...}}}}'",
                        )
                    )


def _source_in(value: Any) -> SecretSource | None:
    """The first secret in a value that was read from a file."""
    if isinstance(value, SecretSource):
        return value
    inner = value.values() if isinstance(value, Mapping) else value
    if not isinstance(value, Mapping | list):
        return None
    return next((found for item in inner if (found := _source_in(item))), None)


def _names_a_place(value: Any) -> bool:
    if isinstance(value, Mapping):
        try:
            is_place = secret_place(value, Path()) is not None
        except ValueError:
            is_place = True
        return is_place or any(map(_names_a_place, value.values()))
    return isinstance(value, list) and any(map(_names_a_place, value))
