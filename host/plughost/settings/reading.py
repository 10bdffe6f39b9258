"""The settings in a file, in the environment and on a command line."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from plughost.catalog.toml_marks import toml_marks
from plughost.policy.grants_file import grants_in, parse_document

from .origin import Level, Origin, Setting, Settings
from .shape import ROOT, Keys, is_table, kind_of, names_in, step, switch_in
from .values import convert, from_text

__all__ = ["PREFIX", "read_environment", "read_option", "read_text", "variable_of"]

PREFIX: Final = "PLUGHOST_"


def read_text(path: Path, text: str) -> Settings:
    """What a file's text sets, with every mistake in it. Raises `ConfigError` for no TOML."""
    document = parse_document(path, text)
    marks = toml_marks(text)
    settings = Settings({}, [])
    problems, grants = grants_in(path, document.pop("grants", {}), marks)
    settings.problems += problems
    for plugin_id, permissions in grants.items():
        place = ("grants", plugin_id)
        origin = Origin(Level.FILE, str(path), marks.of_key(place))
        settings.made[place] = Setting(place, permissions, origin)
    folder = path.absolute().parent
    for keys, kind, value in _walk(ROOT, document, ()):
        origin = Origin(Level.FILE, str(path), marks.of_key(keys))
        if isinstance(kind, ValueError):
            settings.problems.append(origin.error(f"{_name(keys)}: {kind}"))
            continue
        try:
            made = convert(kind, value, folder)
        except ValueError as exc:
            origin = Origin(Level.FILE, str(path), marks.of(keys))
            settings.problems.append(origin.error(f"{_name(keys)}: {exc}"))
        else:
            settings.made[keys] = Setting(keys, made, origin)
    return settings


def _name(keys: Keys) -> str:
    return ".".join(keys)


def _walk(kind: Any, value: Any, keys: Keys) -> Iterator[tuple[Keys, Any, Any]]:
    """Each setting with its kind and its value; in place of the kind, what is wrong."""
    switch = switch_in(kind)
    if not is_table(kind):
        yield keys, kind, value
    elif switch and isinstance(value, bool):
        yield (*keys, switch), bool, value
    elif not isinstance(value, Mapping):
        other = "true, false or " if switch else ""
        yield keys, ValueError(f"must be {other}a table: [{_name(keys)}]"), value
    else:
        if switch and switch not in value:  # who fills the table wants what it is for
            yield (*keys, switch), bool, True
        for name, inner in value.items():
            below = (*keys, name)
            try:
                found = step(kind, name)
            except ValueError as exc:
                yield below, exc, inner
            else:
                yield from _walk(found, inner, below)


def read_environment(environment: Mapping[str, str]) -> Settings:
    """What variables set: `PLUGHOST_LIMITS__MEMORY` is `limits.memory`.

    An empty one counts as not set. One without `__` that is none of ours is somebody else's
    (Kubernetes sets some for a service of this name), unless it is nearly one of ours.
    """
    settings = Settings({}, [])
    for variable in sorted(environment):
        if not (variable.startswith(PREFIX) and environment[variable]):
            continue
        origin = Origin(Level.ENVIRONMENT, variable)
        keys = _keys_of(variable)
        if keys[0] == "grants" and len(keys) > 1:
            reason = "grants are kept in files: plughost grant"
            settings.problems.append(origin.error(reason))
        elif len(keys) > 1 or keys[0] in names_in(ROOT):
            _read_one(settings, keys, environment[variable], origin)
        elif near := get_close_matches(keys[0], names_in(ROOT), n=1, cutoff=0.8):
            there = f"there is no such setting; did you mean {PREFIX}{near[0].upper()}?"
            settings.problems.append(origin.error(there))
    return settings


def _keys_of(variable: str) -> Keys:
    keys = variable.removeprefix(PREFIX).lower().split("__")
    if keys[0] == "plugins" and len(keys) > 1:
        keys[1] = keys[1].replace("_", "-")  # an id has no underscore, a variable no hyphen
    return tuple(keys)


def variable_of(keys: Keys) -> str:
    """The variable that sets these keys."""
    return PREFIX + "__".join(keys).upper().replace("-", "_")


def read_option(keys: Keys, value: Any, option: str) -> Settings:
    """What an option of the command sets, its text read as a variable's is."""
    settings = Settings({}, [])
    origin = Origin(Level.COMMAND_LINE, option)
    if isinstance(value, str):
        _read_one(settings, keys, value, origin)
    else:
        settings.made[keys] = Setting(keys, value, origin)
    return settings


def _read_one(settings: Settings, keys: Keys, text: str, origin: Origin) -> None:
    try:
        kind = kind_of(keys)
        if switch := switch_in(kind):
            keys, kind = (*keys, switch), bool
        if is_table(kind):
            raise ValueError(f"{_name(keys)} is a table: name a setting in it")  # noqa: TRY301
        value = convert(kind, from_text(kind, text), Path.cwd())
    except ValueError as exc:
        settings.problems.append(origin.error(str(exc)))
    else:
        settings.made[keys] = Setting(keys, value, origin)
