"""The configuration of one command: files, environment, and the options that stand over them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from plughost.config import HostConfig, Layer
from plughost.errors import ConfigError
from plughost.hot_reload_config import ENVIRONMENT, is_production
from plughost.settings.build import build_command, build_host
from plughost.settings.files import GrantFiles, find_grant_files, why_a_plugins
from plughost.settings.load import merged
from plughost.settings.origin import Settings
from plughost.settings.reading import read_option
from plughost.settings.shape import CommandSettings, Keys

from .exit_codes import USAGE
from .output import Output
from .problems import CommandFailed, Problem

__all__ = [
    "Configuration",
    "Options",
    "configured_folders",
    "configured_socket",
    "configured_state",
    "warn",
]


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says of the configuration; what is empty leaves it as it is."""

    folders: Sequence[Path] = ()
    file: Path | None = None
    memory: str | None = None
    cpu: str | None = None
    timeout: float | None = None
    without: Sequence[Layer] = ()
    require_cgroup: bool = False
    shared_template: bool = False
    state: Path | None = None
    dev: bool = False
    """Whether plugins are written meanwhile: hot reload, and all that they log."""

    def settings(self) -> Settings:
        """The same as settings."""
        made: list[tuple[Keys, Any, str]] = []
        if self.memory is not None:
            made.append((("limits", "memory"), self.memory, "--memory"))
        if self.cpu is not None:
            made.append((("limits", "cpu"), self.cpu, "--cpu"))
        if self.timeout is not None:
            made.append((("limits", "call_timeout"), self.timeout, "--timeout"))
            made.append((("limits", "call_total"), self.timeout, "--timeout"))
        if self.without:
            made.append((("sandbox", "without"), frozenset(self.without), "--without"))
        if self.require_cgroup:
            made.append((("sandbox", "require_cgroup"), True, "--require-cgroup"))
        if self.shared_template:
            made.append((("shared_template",), True, "--shared-template"))
        if self.state is not None:
            made.append((("state_folder",), str(self.state), "--state"))
        if self.dev:
            made.append((("hot_reload", "enabled"), True, "plughost dev"))
        settings = Settings({}, [])
        for keys, value, option in made:
            settings.add(read_option(keys, value, option))
        return settings


@dataclass(frozen=True, slots=True)
class Configuration:
    """What was read, before a host is made of it."""

    settings: Settings
    files: GrantFiles
    command: CommandSettings
    folders: Sequence[Path]
    """Where the plugins are; empty for the search path."""
    file: Path | None
    """The file that was named in place of those that are found."""

    @classmethod
    def read(cls, output: Output, options: Options) -> Self:
        """All that holds for a command that looks at plugins. Warns of files that are passed over.

        Raises `ConfigError`.
        """
        files = find_grant_files(options.folders, options.file, lenient=True)
        settings = merged(files.read, os.environ)
        settings.override(options.settings())
        if options.dev:
            _check_no_production()
            if _LOG_LEVEL not in settings.made:
                settings.add(read_option(_LOG_LEVEL, "debug", "plughost dev"))
        command = build_command(settings)
        folders = list(options.folders) or list(command.folders)
        if command.folders and not options.folders:
            files = _not_among_plugins(files, folders, options.file)
        warn(output, files)
        return cls(settings, files, command, folders, options.file)

    def host(self, grants: Mapping[str, Sequence[str]] | None = None) -> HostConfig:
        """The host's. Raises `ConfigError`, `CommandFailed` for an option that cannot be.

        `grants` stand in place of those that were read, which may have changed since.
        """
        try:
            config = build_host(self.settings)
        except ConfigError as exc:
            if str(exc.path).startswith("--"):
                then = "--memory 100MB --cpu 50% --timeout 30"
                raise CommandFailed(Problem(str(exc), then=then, code=USAGE)) from exc
            raise
        return config if grants is None else replace(config, grants=grants)


def _check_no_production() -> None:
    """Raises `CommandFailed` where users are."""
    if is_production():
        raise CommandFailed(
            Problem(
                "plughost dev is not for production",
                f"{ENVIRONMENT} says that this is production, where no file is watched",
                f"plughost run; or on your own machine: unset {ENVIRONMENT}",
                code=USAGE,
            )
        )


_LOG_LEVEL: Final[Keys] = ("limits", "log_level")


def _not_among_plugins(
    files: GrantFiles, folders: Sequence[Path], given: Path | None
) -> GrantFiles:
    """The same files. Raises `ConfigError` for one in a folder that it names itself."""
    real = [folder.resolve() for folder in folders]
    for file in files.read:
        if why := why_a_plugins(file.path, real):
            raise ConfigError(file.path, why)
    return find_grant_files(folders, given, lenient=True)


def warn(output: Output, files: GrantFiles) -> None:
    """Say which files were passed over."""
    for text in files.passed_over:
        output.warning(text)


def configured_socket() -> Path | None:
    """The control socket that the configuration names. Raises `ConfigError`."""
    return build_command(_found()).socket


def configured_folders(file: Path | None = None) -> list[Path]:
    """Where the configuration says that plugins are; empty for the search path."""
    return list(build_command(_found(file)).folders)


def configured_state(file: Path | None = None) -> Path | None:
    """The state folder that the configuration names. Raises `ConfigError`."""
    setting = _found(file).made.get(("state_folder",))
    return None if setting is None else setting.value


def _found(file: Path | None = None) -> Settings:
    files = find_grant_files((), file, may_be_new=True, lenient=True)
    return merged(files.read, os.environ)
