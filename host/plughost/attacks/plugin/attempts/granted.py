"""Tricks on folders that were granted, and on the plugin's own data folder."""

import ctypes
import fcntl
import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from .files import opens, reads
from .native import Answer, call, hold, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_RACE: Final = 0.5  # seconds


def _own(target: Target) -> Path:
    """Its data folder: the host made it."""
    return Path(target["data"])


def _through(link: str) -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {**reads(link)}

    def write() -> str:
        fd = opens(link, os.O_WRONLY | os.O_APPEND)["openat"]()
        try:
            return f"wrote {os.write(fd, b'attacked')}"
        finally:
            os.close(fd)

    return found | {"write": write}


def _linked(folder: Path, target: Target) -> Answer:
    link = folder / "link"
    with suppress(OSError):
        link.symlink_to(target["path"])
    return ways(**_through(str(link)))


def symlink_out_of_granted_folder(target: Target) -> Answer:
    return _linked(Path(target["granted"]), target)


def symlink_out_of_data_folder(target: Target) -> Answer:
    return _linked(_own(target), target)


def folder_symlink_out_of_granted_folder(target: Target) -> Answer:
    link = Path(target["granted"], "folder-link")
    secret = Path(target["path"])
    with suppress(OSError):
        link.symlink_to(secret.parent)
    return ways(**_through(str(link / secret.name)))


def dotdot_out_of_granted_folder(target: Target) -> Answer:
    folder, path = Path(target["granted"]), Path(target["path"])
    up = os.path.relpath(path, folder)

    def from_descriptor() -> str:
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            fd = os.open(up, os.O_RDONLY, dir_fd=handle)
            with os.fdopen(fd) as file:
                return file.read()
        finally:
            os.close(handle)

    return ways(**_through(f"{folder}/{up}"), descriptor=from_descriptor)


def hardlink_into_granted_folder(target: Target) -> Answer:
    folder = Path(target["granted"])

    def link(name: str, make: Callable[[bytes], object]) -> str:
        path = folder / name
        make(str(path).encode())
        return path.read_text()

    secret = target["path"].encode()
    return ways(
        link=lambda: link("hard", lambda new: call("link", secret, new)),
        linkat=lambda: link(
            "hard-at", lambda new: call("linkat", _AT_FDCWD, secret, _AT_FDCWD, new, 0)
        ),
        handle=lambda: link("hard-handle", lambda new: _link_by_handle(secret, new)),
    )


def _link_by_handle(secret: bytes, new: bytes) -> None:
    fd = os.open(secret, os.O_PATH)
    try:
        source = f"/proc/self/fd/{fd}".encode()
        call("linkat", _AT_FDCWD, source, _AT_FDCWD, new, 0x400)  # AT_SYMLINK_FOLLOW
    finally:
        os.close(fd)


def rename_into_granted_folder(target: Target) -> Answer:
    first, second = target["paths"]
    folder = target["granted"]

    def move() -> str:
        os.rename(first, f"{folder}/moved")  # noqa: PTH104
        return Path(folder, "moved").read_text()

    def exchange() -> str:
        mine = Path(folder, "mine")
        mine.write_text("attacked")
        call(
            "renameat2",
            _AT_FDCWD, second.encode(), _AT_FDCWD, str(mine).encode(), _RENAME_EXCHANGE,
        )  # fmt: skip
        return mine.read_text()

    return ways(rename=move, exchange=exchange)


def rename_out_of_granted_folder(target: Target) -> Answer:
    mine = Path(target["granted"], "sent")
    mine.write_text("attacked")
    return one_way(lambda: os.rename(mine, target["path"]))  # noqa: PTH104


def race_a_symlink_in_granted_folder(target: Target) -> Answer:
    """A file and a link to the secret change places, while the file is opened again and again."""
    folder = Path(target["granted"])
    name, link, spare = folder / "raced", folder / "raced-link", folder / "raced-spare"
    name.write_text("nothing")
    with suppress(OSError):
        link.symlink_to(target["path"])
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for old, new in ((name, spare), (link, name), (name, link), (spare, name)):
                with suppress(OSError):
                    os.rename(old, new)  # noqa: PTH104

    def read_for_a_while() -> str:
        end = time.monotonic() + _RACE
        error = OSError(0, "nothing")
        while time.monotonic() < end:
            try:
                found = name.read_text()
                if found != "nothing":
                    return found
            except OSError as exc:
                error = exc
        raise error

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        return one_way(read_for_a_while)
    finally:
        stop.set()
        thread.join()


def walk_up_from_a_moved_folder(target: Target) -> Answer:
    """A descriptor of a folder whose parent was moved from under it, and then upwards."""
    granted = Path(target["granted"])
    up = os.path.relpath(target["path"], granted)

    def walk() -> str:
        inner = granted / "a" / "b"
        inner.mkdir(parents=True, exist_ok=True)
        handle = os.open(inner, os.O_PATH | os.O_DIRECTORY)
        try:
            inner.rename(granted / "moved-b")
            fd = os.open(f"../{up}", os.O_RDONLY, dir_fd=handle)
            with os.fdopen(fd) as file:
                return file.read()
        finally:
            os.close(handle)

    return one_way(walk)


def write_where_only_reading_is_granted(target: Target) -> Answer:
    folder = Path(target["read_only"])
    path = folder / "file"

    def write() -> str:
        fd = opens(str(path), os.O_WRONLY | os.O_APPEND)["openat"]()
        try:
            return f"wrote {os.write(fd, b'attacked')}"
        finally:
            os.close(fd)

    return ways(
        write=write,
        reopened=lambda: os.close(opens(str(path), os.O_WRONLY)["reopened"]()),
        truncate=lambda: os.truncate(path, 0),
        create=lambda: (folder / "new").write_text("attacked"),
        chmod=lambda: os.chmod(path, 0o777),  # noqa: PTH101, S103
        delete=lambda: os.unlink(path),  # noqa: PTH108
    )


def set_user_id_bit(target: Target) -> Answer:
    folder = _own(target)

    def changed(name: str, change: Callable[[str], object]) -> str:
        path = folder / name
        path.write_text("")
        change(str(path))
        return oct(path.stat().st_mode)

    def by_descriptor(path: str) -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fchmod(fd, 0o4755)
        finally:
            os.close(fd)

    def created() -> str:
        path = str(folder / "created")
        os.close(call("open", path.encode(), os.O_CREAT | os.O_WRONLY, 0o4755))
        return oct(os.stat(path).st_mode)  # noqa: PTH116

    return ways(
        chmod=lambda: changed("chmod", lambda path: call("chmod", path.encode(), 0o4755)),
        fchmodat=lambda: changed(
            "fchmodat", lambda path: call("fchmodat", _AT_FDCWD, path.encode(), 0o6755)
        ),
        fchmodat2=lambda: changed(
            "fchmodat2", lambda path: call("fchmodat2", _AT_FDCWD, path.encode(), 0o6755, 0)
        ),
        fchmod=lambda: changed("fchmod", by_descriptor),
        created=created,
        mkdir=lambda: call("mkdir", str(folder / "made").encode(), 0o2755),
    )


def make_device(target: Target) -> Answer:
    device = os.makedev(1, 3)  # /dev/null: harmless, and as forbidden as any other
    first, second = (str(_own(target) / name).encode() for name in ("device", "block"))
    return ways(
        character=lambda: call("mknod", first, stat.S_IFCHR | 0o666, device),
        block=lambda: call("mknodat", _AT_FDCWD, second, stat.S_IFBLK | 0o666, os.makedev(7, 0)),
    )


def listen_in_data_folder(target: Target) -> Answer:
    """A socket that other programs take for somebody else's."""

    def listen() -> str:
        server = socket.socket(socket.AF_UNIX)
        hold(server.close)
        server.bind(str(_own(target) / "s"))
        server.listen()
        return "listening"

    return one_way(listen)


def set_file_flags(target: Target) -> Answer:
    """The nodump flag; with the immutable flag, the operator could not delete the file."""

    def flag() -> str:
        path = _own(target) / "flagged"
        path.write_text("")
        flags = ctypes.c_int(0x40)  # FS_NODUMP_FL
        with path.open() as file:
            fcntl.ioctl(file, 0x40086602, flags)  # FS_IOC_SETFLAGS
        return "flagged"

    return one_way(flag)
