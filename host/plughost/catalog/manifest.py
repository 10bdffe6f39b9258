"""The manifest: what a plugin says of itself and asks for."""

import re
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from plughost.config import MIN_MEMORY
from plughost.errors import ManifestError
from plughost.units import format_bytes, parse_bytes, parse_share
from plughost_protocol.services import ServiceName

from .asks import Ask, Asked, read_asks
from .config_schema import ConfigSchema
from .schema_limits import shown

__all__ = ["MANIFEST", "Manifest", "ManifestLimits", "read_manifest"]

MANIFEST: Final = "manifest.json"
_MAX_SIZE: Final = 1_000_000  # bytes; a manifest is read whole

PluginId = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*$", max_length=64)]
# https://semver.org, whose numbers have no leading zeros
SemVer = Annotated[
    str,
    Meta(
        pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
        max_length=100,
    ),
]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class ManifestLimits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the plugin says it needs; the operator's limits bound it."""

    memory: str | None = None
    """Such as `100MB`."""
    cpu: str | None = None
    """Such as `50%` of one core."""
    timeout: Seconds | None = None
    """The deadline, in seconds, of its tools that name none."""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A plugin's `manifest.json`."""

    id: PluginId
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    version: SemVer
    description: Annotated[str, Meta(max_length=10_000)] = ""
    author: Annotated[str, Meta(max_length=200)] = ""
    homepage: Annotated[str, Meta(max_length=1000)] = ""
    main: Annotated[str, Meta(min_length=1, max_length=1000)] = "plugin.py"
    """The entry file, relative to the plugin's folder and inside of it."""
    permissions: Asked = []
    """What it asks for: a list of texts and of entries with a reason, or groups."""
    dependencies: list[PluginId] = []
    """Plugins that must run before this one."""
    services: Annotated[list[ServiceName], Meta(max_length=100)] = []
    """What it provides to others, for people and for who asks before it runs."""
    limits: ManifestLimits = ManifestLimits()
    config_schema: dict[str, Any] = {}
    """What its configuration may be: a JSON Schema, or a table of properties."""

    def asks(self) -> tuple[Ask, ...]:
        """The permissions that it asks for."""
        return read_asks(self.permissions, [])

    def as_told(self) -> dict[str, Any]:
        """Its fields as the plugin sees them, with the permissions as plain texts."""
        texts = [str(ask.permission) for ask in self.asks()]
        own = msgspec.structs.replace(self, permissions=texts, config_schema={})
        told: dict[str, Any] = msgspec.to_builtins(own)
        return told


# msgspec names the offending pattern; people want to know what to write.
_REMEDIES: Final = {
    "id": "lower-case letters, digits and hyphens, beginning with a letter, such as 'my-plugin'",
    "version": "a semantic version, such as '1.0.0'",
    "main": "the name of a Python file in the plugin's folder",
}


def read_manifest(folder: Path) -> Manifest:
    """The manifest in a plugin's folder. Raises `ManifestError` with every problem found."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_SIZE + 1)
    except OSError as exc:
        raise ManifestError(path, [f"cannot be read: {exc.strerror}"]) from exc
    if len(text) > _MAX_SIZE:
        raise ManifestError(path, [f"is longer than {_MAX_SIZE} bytes"])
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as exc:
        raise ManifestError(path, [f"is not JSON: {_place(text, exc)}"]) from exc
    if not isinstance(fields, dict):
        raise ManifestError(path, ["must be a JSON object"])
    problems = [*_field_problems(fields)]
    if not problems:
        manifest = msgspec.convert(fields, Manifest)
        problems = [*_meaning_problems(manifest, folder)]
    if problems:
        raise ManifestError(path, problems)
    return manifest


def _place(text: bytes, exc: Exception) -> str:
    """The decoder's words, with line and column in place of a byte offset."""
    match = re.search(r"(.*) \(byte (\d+)\)", str(exc))
    if match is None:
        return str(exc)
    before = text[: int(match[2])]
    line = before.count(b"\n") + 1
    column = len(before) - before.rfind(b"\n")
    return f"{match[1]} (line {line}, column {column})"


def _field_problems(fields: dict[str, Any]) -> list[str]:
    """Each field on its own, so that one error does not hide the others."""
    problems = []
    known = {field.name: field for field in msgspec.structs.fields(Manifest)}
    for name, value in fields.items():
        field = known.get(name)
        if field is None:
            problems.append(f"{name}: unknown field; there are {', '.join(known)}")
            continue
        try:
            msgspec.convert(value, field.type)
        except (msgspec.ValidationError, RecursionError) as exc:
            reason = str(exc).replace(" - at `$", f" - at `{name}")
            if "matching regex" in reason and name in _REMEDIES:
                reason = f"'{shown(str(value))}' is none"
            remedy = f": write {_REMEDIES[name]}" if name in _REMEDIES else ""
            problems.append(f"{name}: {reason}{remedy}")
    problems += [
        f"{name}: is missing: write {_REMEDIES.get(name, 'a text')}"
        for name, field in known.items()
        if field.required and name not in fields
    ]
    return problems


def _parse_memory(text: str) -> int:
    size = parse_bytes(text)
    if size < MIN_MEMORY:
        raise ValueError(f"{text!r} is too little: a worker needs {format_bytes(MIN_MEMORY)}")
    return size


def _meaning_problems(manifest: Manifest, folder: Path) -> list[str]:
    problems: list[str] = []
    read_asks(manifest.permissions, problems)
    for name, parse in (("memory", _parse_memory), ("cpu", parse_share)):
        value = getattr(manifest.limits, name)
        try:
            if value is not None:
                parse(value)
        except ValueError as exc:
            problems.append(f"limits.{name}: {exc}")
    try:
        ConfigSchema(manifest.config_schema)
    except ValueError as exc:
        problems.append(f"config_schema: {exc}")
    main = folder / manifest.main
    if not main.is_file():
        problems.append(f"main: there is no file {manifest.main!r} in {folder}")
    elif not main.resolve().is_relative_to(folder.resolve()):
        problems.append(f"main: {manifest.main!r} leads out of the plugin's folder")
    elif main.suffix != ".py":
        problems.append(f"main: {manifest.main!r} is not a Python file (.py)")
    if manifest.id in manifest.dependencies:
        problems.append("dependencies: the plugin names itself")
    return problems
