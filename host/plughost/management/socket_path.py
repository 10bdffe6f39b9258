"""Where the control socket is: in a folder that nobody else can write to."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from platformdirs import site_config_path, user_config_path

from plughost_protocol import ErrorCode

from .problems import CommandFailed, Problem

__all__ = ["control_path"]

_NAME: Final = "control.sock"
_MAX_PATH: Final = 107  # bytes; sockaddr_un.sun_path has 108, unix(7)


def control_path(given: Path | None, *, create: bool = False) -> Path:
    """The socket's path: as given (`--socket`, PLUGHOST_SOCKET), as configured, or the default.

    With `create` the default folder is made where it is missing. Raises `CommandFailed` where
    somebody else could have put a socket there.
    """
    if given is None and _is_there_a_file():
        # Here: it takes 0.2 s to import, and most have no such file.
        from .configuration import configured_socket

        given = configured_socket()
    path = given if given is not None else _default(create=create)
    if len(os.fsencode(path)) > _MAX_PATH:
        raise CommandFailed(
            Problem(
                f"the socket's path is too long: {path}",
                f"a unix socket's path has at most {_MAX_PATH} bytes",
                "--socket with a shorter path",
            )
        )
    return path


def _is_there_a_file() -> bool:
    folders = (site_config_path("plughost"), user_config_path("plughost"), Path())
    return any((folder / "plughost.toml").exists() for folder in folders)


def _default(*, create: bool) -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        folder = Path(runtime, "plughost")
    else:
        folder = Path(tempfile.gettempdir(), f"plughost-{os.geteuid()}")
    if create:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as exc:
            raise _unfit(folder, f"it cannot be made: {exc.strerror}") from exc
    _check(folder)
    return folder / _NAME


def _check(folder: Path) -> None:
    try:
        # Not stat(): a link in /tmp is anybody's to make.
        found = folder.lstat()
    except FileNotFoundError:
        return
    except OSError as exc:
        raise _unfit(folder, f"it cannot be looked at: {exc.strerror}") from exc
    if not stat.S_ISDIR(found.st_mode):
        raise _unfit(folder, "it is not a folder, or a link to one")
    if found.st_uid != os.geteuid():
        raise _unfit(folder, f"it belongs to user {found.st_uid}")
    if stat.S_IMODE(found.st_mode) != 0o700:
        mode = stat.S_IMODE(found.st_mode)
        raise _unfit(folder, f"its mode is {mode:04o} and must be 0700, for nobody but you")


def _unfit(folder: Path, why: str) -> CommandFailed:
    return CommandFailed(
        Problem(
            f"the folder of the control socket cannot be used: {folder}",
            why,
            f"rm -r {folder}, if it is yours; or --socket PATH",
            code=ErrorCode.INTERNAL,
        )
    )
