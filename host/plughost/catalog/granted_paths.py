"""Which paths no plugin may be granted, whatever it asks for and whoever says yes."""

import os
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import platformdirs

from .permissions import Permission
from .scopes import path_of
from .search_path import search_folders

__all__ = ["GRANTS_FILE", "check_granted_path", "path_problem", "protected_paths"]

GRANTS_FILE: Final = "plughost.toml"

# A path below one of the first is an interface of the kernel's and no file. One of the second
# holds what the whole machine lives on; folders in it may be granted.
_NO_FILES: Final = tuple(map(Path, ("/proc", "/sys", "/dev")))
_TOO_WIDE: Final = tuple(map(Path, ("/", "/etc", "/run", "/usr", "/var", "/boot")))

_OWN: Final = "plughost's, Python's or a plugin's own"


def check_granted_path(path: str, *, forbidden: Iterable[Path]) -> Path:
    """The path of an `fs` permission's scope, which exists and is no link, as it is now.

    Raises `ValueError`, with a sentence, for what must not be granted. `forbidden` are real
    paths that it may neither hold nor lie in.
    """
    named = Path(path_of(path))
    real = _real(named)
    if real != named:
        raise ValueError(f"{named} leads over a symbolic link to {real}: name that path")
    mode = real.stat().st_mode
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise ValueError(f"{real} is neither a file nor a folder")
    for place in _NO_FILES:
        if real.is_relative_to(place):
            raise ValueError(f"{real} belongs to the kernel: no plugin is granted {place}")
    if real in _TOO_WIDE:
        raise ValueError(f"{real} is too wide: name what is needed of it")
    home = Path(path_of("~/"))
    if home.is_relative_to(real):
        which = "is" if home == real else "holds"
        raise ValueError(f"{real} {which} the operator's home folder: name what is needed of it")
    for other in forbidden:
        if other == real:
            raise ValueError(f"{real} is {_OWN}")
        if other.is_relative_to(real):
            raise ValueError(f"{real} holds {_reserved(other)}")
        if real.is_relative_to(other):
            raise ValueError(f"{real} lies in {_reserved(other)}")
    return real


def path_problem(permission: Permission, protected: Iterable[Path]) -> str:
    """Why the path of an `fs` permission cannot be granted, or nothing."""
    if not permission.is_path:
        return ""
    forbidden = [*protected]
    if permission.name == "fs:write":
        # What is written there is a plugin at the next start, with the grants of the id it takes.
        forbidden += [path.resolve() for path in search_folders()]
    try:
        check_granted_path(permission.scope, forbidden=forbidden)
    except ValueError as exc:
        return str(exc)
    return ""


def _real(path: Path) -> Path:
    try:
        return path.resolve(strict=True)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (OSError, RuntimeError) as exc:  # a loop of links is either, by Python's version
        reason = getattr(exc, "strerror", None) or str(exc)
        raise ValueError(f"{path} cannot be looked at: {reason}") from exc


def _reserved(path: Path) -> str:
    return f"{path}, which is {_OWN}"


def protected_paths(
    plugins: Iterable[Path], state_folder: Path | None = None, grants_file: Path | None = None
) -> tuple[Path, ...]:
    """The paths that none is granted: the plugins' folders, and what the host lives on."""
    own = [*_installation(), *_users_own(), Path(GRANTS_FILE), *plugins]
    own += [path for path in (state_folder, grants_file) if path is not None]
    return tuple(dict.fromkeys(path.resolve() for path in own))


@cache
def _installation() -> tuple[Path, ...]:
    """The code of plughost and of Python."""
    names = ("plughost", "plughost_protocol", "plughost_worker", "plughost_sdk")
    specs = [find_spec(name) for name in names]
    code = [Path(spec.origin).parent for spec in specs if spec is not None and spec.origin]
    schemes = ("stdlib", "platstdlib", "purelib", "platlib")
    code += [Path(sysconfig.get_path(scheme)) for scheme in schemes]
    code.append(Path(sys.executable))
    code.append(Path(sys.executable).resolve())
    if sys.prefix != sys.base_prefix:  # a virtual environment is Python's as a whole
        code.append(Path(sys.prefix))
    return tuple(code)


def _users_own() -> list[Path]:
    """Where plughost keeps grants, data, and the socket by which all tools can be called."""
    folders = [
        platformdirs.site_config_path("plughost"),
        platformdirs.user_config_path("plughost"),
        platformdirs.user_data_path("plughost"),
        platformdirs.user_state_path("plughost"),
        Path(tempfile.gettempdir(), f"plughost-{os.geteuid()}"),
    ]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        folders.append(Path(runtime, "plughost"))
    return folders
