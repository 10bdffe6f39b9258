"""`plughost config`: what holds, where it comes from, what is wrong with it, and changing it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomlkit import TOMLDocument

from plughost.errors import ConfigError
from plughost.settings import build
from plughost.settings.files import GrantFiles, find_grant_files
from plughost.settings.listing import as_json, as_toml, every_setting
from plughost.settings.load import merged
from plughost.settings.origin import Origin, Setting, Settings
from plughost.settings.reading import read_text
from plughost.settings.shape import Keys, is_table, kind_of, switch_in
from plughost.settings.values import from_text
from plughost_protocol import ErrorCode

from .config_edit import HEADER, put_value
from .configuration import warn
from .exit_codes import ExitCode
from .grant_edit import edit_file
from .output import Cell, Output
from .problems import CommandFailed, Problem

__all__ = ["ShowOptions", "check", "get", "set_value", "show", "unset"]


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """What `plughost config show` is told."""

    prefix: str
    everything: bool
    origin: bool
    file: Path | None


def show(output: Output, options: ShowOptions) -> ExitCode:
    """The settings, each with its origin."""
    files, settings = _read(output, options.file)
    wanted = _keys(options.prefix) if options.prefix else ()
    shown = [
        setting
        for setting in every_setting(settings, with_defaults=options.everything)
        if setting.keys[: len(wanted)] == wanted
    ]
    if output.as_json:
        output.json([_told(setting) for setting in shown])
    else:
        for setting in shown:
            origin = Cell(f"  # {setting.origin}", "dim") if options.origin else ""
            output.line(f"{_name(setting.keys)} = {as_toml(setting.keys, setting.value)}", origin)
        if not shown:
            output.line(_nothing(files))
    problems = build.check(settings)
    if problems:
        output.warning(f"{len(problems)} mistakes: plughost config check")
    return ExitCode.GENERAL if problems else ExitCode.OK


def _nothing(files: GrantFiles) -> str:
    read = ", ".join(str(file.path) for file in files.read)
    return f"all is as by default; --all shows it (read: {read or 'no file'})"


def check(output: Output, file: Path | None) -> ExitCode:
    """Every mistake there is. 0 without one, else 1."""
    files = find_grant_files((), file, lenient=True)
    warn(output, files)
    problems: list[ConfigError] = []
    settings = Settings({}, [])
    for found in files.read:
        try:
            settings.add(read_text(found.path, found.text))
        except ConfigError as exc:
            problems.append(exc)
    settings.add(merged((), os.environ))
    problems += build.check(settings)
    if output.as_json:
        names = [str(found.path) for found in files.read]
        output.json({"files": names, "problems": [_problem(problem) for problem in problems]})
    elif problems:
        for problem in problems:
            output.line(Cell("error: ", "bold red"), str(problem))
    else:
        read = ", ".join(str(found.path) for found in files.read)
        output.line(Cell("ok", "bold green"), f" ({read or 'no file'})")
    return ExitCode.GENERAL if problems else ExitCode.OK


def get(output: Output, key: str, file: Path | None) -> ExitCode:
    """One value as it holds. 4 for a key that nothing has set and that has no default."""
    _, settings = _read(output, file)
    keys = _keys(key)
    everything = every_setting(settings, with_defaults=True)
    found = next((setting for setting in everything if setting.keys == keys), None)
    if found is None:
        then = f"plughost config show {key}" if is_table(kind_of(keys)) else ""
        why = "it is a table" if then else ""
        raise CommandFailed(Problem(f"{key} is not set", why, then, code=ErrorCode.UNKNOWN_METHOD))
    if output.as_json:
        output.json(_told(found))
    else:
        is_text = isinstance(found.value, str)
        output.line(as_json(found.value) if is_text else as_toml(keys, found.value))
    return ExitCode.OK


def set_value(output: Output, key: str, text: str, file: Path | None) -> ExitCode:
    """Write one value; comments and all else stay. Nothing is written that cannot be."""
    keys = _keys(key)
    _not_a_grant(keys)
    kind = kind_of(keys)
    if switch := switch_in(kind):
        keys, kind = (*keys, switch), bool
    if is_table(kind):
        raise CommandFailed(Problem(f"{key} is a table", then=f"plughost config show {key}"))
    try:
        value = from_text(kind, text)
    except ValueError as exc:
        raise CommandFailed(Problem(f"{key}: {exc}")) from exc
    files = find_grant_files((), file, may_be_new=True)
    warn(output, files)

    def change(document: TOMLDocument) -> None:
        put_value(files, document, keys, value)

    edit_file(files.target, change, HEADER)
    return _changed(output, key, files.target, "set")


def unset(output: Output, key: str, file: Path | None) -> ExitCode:
    """Take one value, or a whole table, out of the file. 4 if it is not there."""
    keys = _keys(key)
    _not_a_grant(keys)
    files = find_grant_files((), file)
    warn(output, files)

    def change(document: TOMLDocument) -> None:
        table: Any = document
        for name in keys[:-1]:
            table = table.get(name, {})
        if keys[-1] not in table:
            raise CommandFailed(
                Problem(
                    f"{key} is not set in {files.target}",
                    then=f"plughost config show {key} --origin",
                    code=ErrorCode.UNKNOWN_METHOD,
                )
            )
        del table[keys[-1]]

    edit_file(files.target, change, HEADER)
    return _changed(output, key, files.target, "unset")


def _changed(output: Output, key: str, path: Path, what: str) -> ExitCode:
    if output.as_json:
        output.json({"key": key, "file": str(path)})
    else:
        output.line(f"{key} {what}, in {path}")
        output.line(Cell("a host that runs keeps what it has until it is started again", "dim"))
    return ExitCode.OK


def _read(output: Output, file: Path | None) -> tuple[GrantFiles, Settings]:
    files = find_grant_files((), file, lenient=True)
    warn(output, files)
    return files, merged(files.read, os.environ)


def _keys(key: str) -> Keys:
    """The keys in `plugins.weather.config.api_key`. Raises `CommandFailed` for no such setting."""
    keys = tuple(key.split("."))
    try:
        kind_of(keys)
    except ValueError as exc:
        raise CommandFailed(
            Problem(str(exc), then="plughost config show --all", code=ErrorCode.UNKNOWN_METHOD)
        ) from exc
    return keys


def _not_a_grant(keys: Sequence[str]) -> None:
    if keys[0] == "grants":
        raise CommandFailed(
            Problem("grants are not set so", then="plughost grant ID PERMISSION, plughost revoke")
        )


def _name(keys: Keys) -> str:
    return ".".join(keys)


def _told(setting: Setting) -> dict[str, Any]:
    return {
        "key": _name(setting.keys),
        "value": as_json(setting.value),
        "origin": _origin(setting.origin),
    }


def _origin(origin: Origin) -> dict[str, Any]:
    told: dict[str, Any] = {"level": origin.level.value}
    if origin.name:
        told["name"] = origin.name
    if origin.mark.line:
        told |= {"line": origin.mark.line, "column": origin.mark.column}
    return told


def _problem(problem: ConfigError) -> dict[str, Any]:
    place = {"line": problem.line, "column": problem.column} if problem.line else {}
    return {"where": str(problem.path), **place, "problem": problem.problem}
