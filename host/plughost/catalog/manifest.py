"""The manifest: what a plugin says of itself and asks for."""

from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from plughost.config import MIN_MEMORY
from plughost.errors import ManifestError
from plughost.units import format_bytes, parse_bytes, parse_share
from plughost_protocol import __version__
from plughost_protocol.services import ServiceName

from .activation import Activation, ActivationEntry
from .asks import Ask, Asked, read_asks
from .config_schema import ConfigSchema
from .dependencies import Dependencies, Dependency, read_dependencies
from .field_problems import REMEDIES, problems_of
from .manifest_files import MANIFEST, find_source
from .schema_limits import shown
from .versions import SEMVER_PATTERN, fits_python, is_older

__all__ = [
    "MANIFEST",
    "Capabilities",
    "Manifest",
    "ManifestLimits",
    "find_manifest",
    "read_manifest",
]

PluginId: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*\Z", max_length=64)]
SemVer: TypeAlias = Annotated[str, Meta(pattern=SEMVER_PATTERN, max_length=100)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]
_Word: TypeAlias = Annotated[str, Meta(min_length=1, max_length=100)]
_Words: TypeAlias = Annotated[list[_Word], Meta(max_length=100)]


class ManifestLimits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the plugin says it needs; the operator's limits bound it."""

    memory: str | None = None
    """Such as `100MB`."""
    cpu: str | None = None
    """Such as `50%` of one core."""
    timeout: Seconds | None = None
    """The deadline, in seconds, of its tools that name none."""


class Capabilities(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the plugin is there for, in the words of other systems."""

    event_namespaces: _Words = []
    """The events that it is about. For people: it has no effect."""
    commands: _Words = []
    """The commands that it handles. For people: it has no effect."""
    provides_services: Annotated[list[ServiceName], Meta(max_length=100)] = []
    """The same as `services`."""


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A plugin's manifest."""

    id: PluginId
    """Lower-case letters, digits and hyphens; the first part of its tools' names."""
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    """Its name, for people."""
    version: SemVer
    """A semantic version, such as `1.0.0`."""
    description: Annotated[str, Meta(max_length=10_000)] = ""
    """What it is, for people."""
    author: Annotated[str, Meta(max_length=200)] = ""
    """Who wrote it, for people."""
    homepage: Annotated[str, Meta(max_length=1000)] = ""
    """Where there is more about it, for people."""
    type: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*\Z", max_length=64)] = ""
    """What kind of plugin it is, such as `tool` or `provider`. For people: it has no effect."""
    tags: _Words = []
    """Words to find it by. For people: they have no effect."""
    main: Annotated[str, Meta(min_length=1, max_length=1000)] = "plugin.py"
    """The entry file, relative to the plugin's folder and inside of it."""
    permissions: Asked = []
    """What it asks for: a list of texts and of entries with a reason, or groups."""
    dependencies: Dependencies = []
    """The plugins and services that must be there before this one starts."""
    services: Annotated[list[ServiceName], Meta(max_length=100)] = []
    """What it provides to others, for people and for who asks before it runs."""
    capabilities: Capabilities = Capabilities()
    """What it is there for."""
    limits: ManifestLimits = ManifestLimits()
    """What it needs; it can ask for less than the operator's limits, not for more."""
    config_schema: dict[str, Any] = {}
    """What its configuration may be: a JSON Schema, or a table of properties."""
    min_host_version: SemVer = ""
    """The oldest plughost that it runs on."""
    requires_python: Annotated[str, Meta(max_length=200)] = ""
    """The Python versions that its worker may have, such as `>=3.11`."""
    activation: Annotated[list[ActivationEntry], Meta(max_length=100)] = []
    """What starts it: `start`, with the host, if nothing is named; or, at its first use, `tool`,
    `service`, `event`, `event:PATTERN`, `hook`, `schedule`, `command:NAME`."""

    def asks(self) -> tuple[Ask, ...]:
        """The permissions that it asks for."""
        return read_asks(self.permissions, [])

    def needs(self) -> tuple[Dependency, ...]:
        """The plugins and services that it depends on."""
        return read_dependencies(self.dependencies, [])

    def provides(self) -> tuple[str, ...]:
        """The services that it says it provides."""
        return tuple(dict.fromkeys([*self.services, *self.capabilities.provides_services]))

    def activated(self) -> Activation:
        """What starts it."""
        return Activation.parse(self.activation)

    def as_told(self) -> dict[str, Any]:
        """Its fields as the plugin sees them: permissions and dependencies are plain texts."""
        own = msgspec.structs.replace(
            self,
            permissions=[str(ask.permission) for ask in self.asks()],
            dependencies=[str(need) for need in self.needs()],
            services=list(self.provides()),
            config_schema={},
        )
        told: dict[str, Any] = msgspec.to_builtins(own)
        return told


_FIELDS: Final = {field.name: field for field in msgspec.structs.fields(Manifest)}

# How other systems call a field.
_OTHER_NAMES: Final = {
    "minOpenSentinelVersion": "min_host_version",
    "minHostVersion": "min_host_version",
    "configSchema": "config_schema",
    "requiresPython": "requires_python",
    "requires-python": "requires_python",
    "provides_services": "services",
    "resources": "limits",
}


def read_manifest(root: Path) -> Manifest:
    """The manifest of a plugin's folder or file. Raises `ManifestError` with every problem."""
    manifest = find_manifest(root)
    if manifest is None:
        where = root if root.suffix == ".py" else root / MANIFEST
        raise ManifestError(where, ["is missing: write one beside plugin.py"])
    return manifest


def find_manifest(root: Path) -> Manifest | None:
    """The manifest, if there is any. Raises `ManifestError` with every problem found."""
    source = find_source(root)
    if source is None:
        return None
    fields = source.fields
    if "plugin_type" in fields and "type" not in fields:
        fields["type"] = fields.pop("plugin_type")
    problems = [f"{name}: is written twice, and the last one counts" for name in source.twice()]
    good = _read_fields(fields, problems)
    if problems and (why := _why_unknown(good)):
        problems.append(why)
    manifest = Manifest(**(_PLACEHOLDERS | good))
    problems += _meaning_problems(manifest)
    if "main" in good or "main" not in fields:
        problems += _main_problems(manifest.main, root.parent if source.path == root else root)
    if problems:
        raise source.refuse(problems)
    return manifest


# In place of what is wrong, while the other fields are checked.
_PLACEHOLDERS: Final = {"id": "", "name": "", "version": ""}


def _read_fields(fields: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The fields that are good; of each other, what is wrong is added to `problems`."""
    good: dict[str, Any] = {}
    for name, value in fields.items():
        field = _FIELDS.get(name)
        if field is None:
            better = _OTHER_NAMES.get(name)
            known = f"write {better}" if better else f"there are {', '.join(_FIELDS)}"
            problems.append(f"{shown(name)}: unknown field; {known}")
        elif wrong := problems_of(name, value, field.type):
            problems += wrong
        else:
            good[name] = msgspec.convert(value, field.type)
    problems += [
        f"{name}: is missing: write {REMEDIES.get(name, 'a text')}"
        for name, field in _FIELDS.items()
        if field.required and name not in fields
    ]
    return good


def _why_unknown(fields: dict[str, Any]) -> str:
    """That the plugin is for a newer host, which may know what this one does not."""
    wanted = fields.get("min_host_version")
    if not wanted or not is_older(__version__, wanted):
        return ""
    return f"min_host_version: it is for plughost {wanted}, and this is {__version__}: update it"


def _parse_memory(text: str) -> int:
    size = parse_bytes(text)
    if size < MIN_MEMORY:
        raise ValueError(f"{text!r} is too little: a worker needs {format_bytes(MIN_MEMORY)}")
    return size


def _meaning_problems(manifest: Manifest) -> list[str]:
    problems: list[str] = []
    read_asks(manifest.permissions, problems)
    needs = read_dependencies(manifest.dependencies, problems)
    if any(
        need.name in manifest.provides() if need.is_service else need.name == manifest.id
        for need in needs
    ):
        problems.append("dependencies: the plugin names itself")
    for name, parse in (("memory", _parse_memory), ("cpu", parse_share)):
        value = getattr(manifest.limits, name)
        try:
            if value is not None:
                parse(value)
        except ValueError as exc:
            problems.append(f"limits.{name}: {exc}")
    try:
        manifest.activated()
    except ValueError as exc:
        problems.append(f"activation: {exc}")
    try:
        if manifest.config_schema:
            ConfigSchema(manifest.config_schema)
    except ValueError as exc:
        problems.append(f"config_schema: {exc}")
    try:
        if manifest.requires_python:
            fits_python("3.11.0", manifest.requires_python)
    except ValueError as exc:
        problems.append(f"requires_python: {exc}")
    return problems


def _main_problems(name: str, folder: Path) -> list[str]:
    main = folder / name
    try:
        if not main.is_file():
            return [f"main: there is no file {name!r} in {folder}"]
        leads_on = name != main.name or main.is_symlink()
        if leads_on and not main.resolve().is_relative_to(folder.resolve()):
            return [f"main: {name!r} leads out of the plugin's folder"]
    except (OSError, RuntimeError, ValueError) as exc:  # a NUL in it, a loop, a closed folder
        return [f"main: {name!r} cannot be looked at: {exc}"]
    if main.suffix != ".py":
        return [f"main: {name!r} is not a Python file (.py)"]
    return []
