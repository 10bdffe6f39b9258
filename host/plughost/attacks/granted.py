"""Tricks on granted folders and on the plugin's own data folder."""

import os
from pathlib import Path
from typing import Any, Final

from .attack import Aim, Attempt, Control, Need, NotPossible, Proof
from .files import FILES
from .proofs import appeared, changed, either, shows
from .range import Range

__all__: list[str] = []

_GRANTED: Final = ("files", "read-only")
_VIEW: Final = "mounts landlock"


def _secret(at: Range) -> Aim:
    """A secret that is no granted one, and that every user may read and write."""
    path, secret = at.secret_file(0o666)
    return Aim({"path": str(path)}, either(shows(secret), changed(path)))


@FILES.attack("reads and writes by a symbolic link in a granted folder", _VIEW, grants=_GRANTED)
def symlink_out_of_granted_folder(at: Range) -> Aim:
    return _secret(at)


@FILES.attack("reads and writes by a symbolic link in its data folder", _VIEW)
def symlink_out_of_data_folder(at: Range) -> Aim:
    return _secret(at)


@FILES.attack("goes through a linked folder in a granted folder", _VIEW, grants=_GRANTED)
def folder_symlink_out_of_granted_folder(at: Range) -> Aim:
    return _secret(at)


@FILES.attack("goes up from a granted folder by `..`", _VIEW, grants=_GRANTED)
def dotdot_out_of_granted_folder(at: Range) -> Aim:
    return _secret(at)


@FILES.attack("hard-links a secret into a granted folder", _VIEW, grants=_GRANTED)
def hardlink_into_granted_folder(at: Range) -> Aim:
    return _secret(at)


@FILES.attack("moves a secret into a granted folder", _VIEW, grants=_GRANTED)
def rename_into_granted_folder(at: Range) -> Aim:
    (first, one), (second, other) = at.secret_file(0o666), at.secret_file(0o666)
    proof = either(shows(one), shows(other), changed(first, second))
    return Aim({"paths": [str(first), str(second)]}, proof)


@FILES.attack("moves a file out of a granted folder", _VIEW, grants=_GRANTED)
def rename_out_of_granted_folder(at: Range) -> Aim:
    folder = at.new_folder()
    return Aim({"path": str(folder / "sent")}, appeared(folder))


@FILES.attack(
    "swaps a file in a granted folder for a link while it is opened", _VIEW, grants=_GRANTED
)
def race_a_symlink_in_granted_folder(at: Range) -> Aim:
    return _secret(at)


@FILES.attack("goes up from a folder that it has moved away from above", _VIEW, grants=_GRANTED)
def walk_up_from_a_moved_folder(at: Range) -> Aim:
    return _secret(at)


@FILES.attack("writes where only reading is granted", "mounts", grants=_GRANTED)
def write_where_only_reading_is_granted(at: Range) -> Aim:
    path = at.read_only / "file"
    return Aim({}, either(changed(path), appeared(at.read_only)))


def _modes(at: Range, wanted: int) -> Proof:
    """Something in its data folder has one of these mode bits."""
    folder = at.data

    def proof(_: Attempt) -> str:
        for path in folder.rglob("*"):
            mode = path.lstat().st_mode
            if mode & wanted:
                return f"{path.name} has mode {mode:o}"
        return ""

    return proof


@FILES.attack("sets the set-user-id bit of a file that the operator's id owns", "seccomp")
def set_user_id_bit(at: Range) -> Aim:
    return Aim({}, _modes(at, 0o6000))


@FILES.attack(
    "makes a device file in its data folder", "uid capabilities landlock seccomp",
    control=Control.BARE, needs=(Need.ROOT,),
)  # fmt: skip
def make_device(at: Range) -> Aim:
    folder = at.data

    def proof(_: Attempt) -> str:
        devices = [p.name for p in folder.iterdir() if p.is_char_device() or p.is_block_device()]
        return f"there is a device, {devices[0]}" if devices else ""

    return Aim({}, proof)


@FILES.attack("makes a Unix socket in its data folder", "landlock seccomp")
def listen_in_data_folder(at: Range) -> Aim:
    path = at.data / "s"
    return Aim({}, lambda _: f"there is a socket, {path}" if path.is_socket() else "")


@FILES.attack("sets flags of a file, such as immutable", "seccomp")
def set_file_flags(at: Range) -> Aim:
    if not _has_flags(at.new_file()):
        raise NotPossible("the file system has no flags")
    path = at.data / "flagged"

    def proof(_: Attempt) -> str:
        return "the file has the nodump flag" if path.exists() and _flags(path) & 0x40 else ""

    return Aim({}, proof)


def _flags(path: Path) -> int:
    import fcntl

    found: Any = bytearray(8)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, 0x80086601, found)  # FS_IOC_GETFLAGS
    finally:
        os.close(fd)
    return int.from_bytes(found[:4], "little")


def _has_flags(path: Path) -> bool:
    try:
        _flags(path)
    except OSError:
        return False
    return True
