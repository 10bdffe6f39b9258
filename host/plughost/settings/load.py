"""The configuration as it is read: system, user, project and environment, each over the last."""

import logging
import os
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Final

from plughost.config import HostConfig

from .build import build_host
from .files import GrantFile, find_grant_files
from .origin import Settings
from .reading import read_environment, read_text

__all__ = ["load_config", "merged"]

_log: Final = logging.getLogger("plughost.config")


def load_config(
    *paths: str | PathLike[str], environment: Mapping[str, str] | None = None
) -> HostConfig:
    """The configuration in these files, a later one over those before it, field by field.

    `environment` holds variables such as `PLUGHOST_LIMITS__MEMORY`, which are over all files.
    Without a path, all is read as the command does: the system's file, the user's own,
    `./plughost.toml` and the environment of the process.

    Raises `ConfigError` with every mistake, its file, line and column.
    """
    if paths:
        files = tuple(GrantFile.load(Path(path), lenient=True) for path in paths)
    else:
        found = find_grant_files((), None, lenient=True)
        for text in found.passed_over:
            _log.warning("%s", text)
        files = found.read
        environment = os.environ if environment is None else environment
    return build_host(merged(files, environment or {}))


def merged(files: Iterable[GrantFile], environment: Mapping[str, str]) -> Settings:
    """The settings in all of it. Raises `ConfigError` for what is no TOML."""
    settings = Settings({}, [])
    for file in files:
        settings.add(read_text(file.path, file.text))
    settings.add(read_environment(environment))
    return settings
