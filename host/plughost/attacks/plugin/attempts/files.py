"""Reading and changing files that were not granted."""

import ctypes
import fcntl
import os
import select
import stat
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from .native import Answer, call, hold, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_ENOUGH: Final = 4096  # bytes
_O_TMPFILE: Final = os.O_TMPFILE | os.O_WRONLY


def _text(fd: int) -> str:
    try:
        return os.read(fd, _ENOUGH).decode(errors="replace")
    finally:
        os.close(fd)


def _openat2(path: str, flags: int) -> int:
    how = (ctypes.c_uint64 * 3)(flags, 0, 0)
    return call("openat2", _AT_FDCWD, path.encode(), how, ctypes.sizeof(how))


def _reopened(path: str, flags: int) -> int:
    """A descriptor that may do nothing, opened again through /proc."""
    handle = os.open(path, os.O_PATH)
    try:
        return os.open(f"/proc/self/fd/{handle}", flags)
    finally:
        os.close(handle)


def opens(path: str, flags: int = os.O_RDONLY) -> dict[str, Callable[[], int]]:
    """The ways to open a file."""
    encoded = path.encode()
    up = "/".join([".."] * 40)
    return {
        "open": lambda: call("open", encoded, flags, 0),
        "openat": lambda: call("openat", _AT_FDCWD, encoded, flags, 0),
        "openat2": lambda: _openat2(path, flags),
        "proc_root": lambda: os.open(f"/proc/self/root{path}", flags),
        "proc_cwd": lambda: os.open(f"/proc/self/cwd/{up}{path}", flags),
        "reopened": lambda: _reopened(path, flags),
    }


def reads(path: str) -> dict[str, Callable[[], str]]:
    """The ways to read a file."""
    return {name: lambda opened=opened: _text(opened()) for name, opened in opens(path).items()} | {
        "python": lambda: Path(path).read_text()
    }


def _read(target: Target) -> Answer:
    return ways(**reads(target["path"]))


read_shadow = read_operators_home = read_private_file = read_public_file = _read
read_neighbour_code = read_neighbour_data = read_host_temporary_file = _read


def read_host_through_proc(target: Target) -> Answer:
    path = target["path"]
    roots = ["/proc/1/root", f"/proc/{target['host']}/root", f"/proc/{os.getppid()}/root"]
    found: dict[str, Callable[[], object]] = {
        root.replace("/", "_"): partial(Path(root + path).read_text) for root in roots
    }
    fd = f"/proc/{target['host']}/fd/{target['fd']}"
    found["fd"] = lambda: Path(fd).read_text()
    return ways(**found)


def read_by_dotdot(target: Target) -> Answer:
    path = target["path"].lstrip("/")
    here = str(Path(__file__).parent)

    def from_descriptor() -> str:
        folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return _text(os.open("../" * 40 + path, os.O_RDONLY, dir_fd=folder))
        finally:
            os.close(folder)

    return ways(
        descriptor=from_descriptor,
        text=lambda: Path(here + "/.." * 40, path).read_text(),
        temporary=lambda: Path("/tmp" + "/.." * 10, path).read_text(),  # noqa: S108
    )


def list_folder(target: Target) -> Answer:
    path = target["path"]

    def by_descriptor() -> str:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return str(os.listdir(folder))  # noqa: PTH208 - a descriptor
        finally:
            os.close(folder)

    return ways(
        listdir=lambda: os.listdir(path),  # noqa: PTH208
        descriptor=by_descriptor,
        proc_root=lambda: os.listdir(f"/proc/self/root{path}"),  # noqa: PTH208
    )


def see_that_a_file_exists(target: Target) -> Answer:
    path = target["path"]

    def statx() -> str:
        found = (ctypes.c_uint8 * 256)()
        call("statx", _AT_FDCWD, path.encode(), 0, 0x7FF, found)
        return f"size={struct.unpack_from('Q', bytes(found), 40)[0]}"

    def by_handle() -> str:
        fd = os.open(path, os.O_PATH)
        try:
            return f"size={os.fstat(fd).st_size}"
        finally:
            os.close(fd)

    return ways(
        stat=lambda: f"size={os.stat(path).st_size}",  # noqa: PTH116
        lstat=lambda: f"size={os.lstat(path).st_size}",
        statx=statx,
        handle=by_handle,
    )


def enter_folder(target: Target) -> Answer:
    def enter() -> str:
        before = os.open(".", os.O_PATH)
        try:
            os.chdir(target["path"])
            return f"inode={os.stat('.').st_ino}"  # noqa: PTH116
        finally:
            os.fchdir(before)
            os.close(before)

    return one_way(enter)


def read_host_environment(target: Target) -> Answer:
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p

    def by_libc() -> str:
        return str(libc.getenv(target["variable"].encode()))

    return ways(
        python=lambda: dict(os.environ),
        libc=by_libc,
        proc=lambda: Path("/proc/self/environ").read_text(),
        template=lambda: Path(f"/proc/{os.getppid()}/environ").read_text(),
    )


def read_inherited_descriptors(_: Target) -> Answer:
    told = []
    for fd in range(3, 1024):
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(fd).st_mode):
                told.append(os.pread(fd, _ENOUGH, 0).decode(errors="replace"))
    return bool(told), " ".join(told) or "no file is open"


def open_disk(_: Target) -> Answer:
    def opened(path: str) -> str:
        fd = os.open(path, os.O_RDONLY)
        hold(lambda: os.close(fd))
        return f"{path} is open"

    names = ("vda", "sda", "nvme0n1", "loop0", "ram0", "zram0")
    return ways(**{name: lambda name=name: opened(f"/dev/{name}") for name in names})


def _appends(path: str) -> dict[str, Callable[[], object]]:
    def append(opened: Callable[[], int]) -> str:
        fd = opened()
        try:
            return f"wrote {os.write(fd, b'attacked')}"
        finally:
            os.close(fd)

    flags = os.O_WRONLY | os.O_APPEND
    return {name: partial(append, opened) for name, opened in opens(path, flags).items()}


def overwrite_file(target: Target) -> Answer:
    return ways(**_appends(target["path"]))


def create_file(target: Target) -> Answer:
    folder = target["path"]
    new = (folder + "/attack-{}").format

    def unnamed() -> str:
        fd = os.open(folder, _O_TMPFILE, 0o600)
        try:
            call("linkat", fd, b"", _AT_FDCWD, new("unnamed").encode(), _AT_EMPTY_PATH)
            return "linked"
        finally:
            os.close(fd)

    return ways(
        open=lambda: Path(new("open")).write_text("attacked"),
        creat=lambda: os.close(call("creat", new("creat").encode(), 0o600)),
        mkdir=lambda: call("mkdir", new("mkdir").encode(), 0o700),
        mkdirat=lambda: call("mkdirat", _AT_FDCWD, new("mkdirat").encode(), 0o700),
        mknod=lambda: call("mknod", new("mknod").encode(), stat.S_IFREG | 0o600, 0),
        fifo=lambda: os.mkfifo(new("fifo")),
        symlink=lambda: call("symlink", b"/", new("symlink").encode()),
        unnamed=unnamed,
    )


def truncate_file(target: Target) -> Answer:
    path = target["path"]

    def opened() -> None:
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))

    return ways(truncate=lambda: call("truncate", path.encode(), 0), opened=opened)


def delete_file(target: Target) -> Answer:
    first, second, folder = (name.encode() for name in target["paths"])
    return ways(
        unlink=lambda: call("unlink", first),
        unlinkat=lambda: call("unlinkat", _AT_FDCWD, second, 0),
        rmdir=lambda: os.rmdir(folder),  # noqa: PTH106
    )


def rename_file(target: Target) -> Answer:
    first, second, third = (name.encode() for name in target["paths"])
    return ways(
        rename=lambda: call("rename", first, first + b"-attacked"),
        renameat=lambda: call("renameat", _AT_FDCWD, second, _AT_FDCWD, second + b"-attacked"),
        renameat2=lambda: call("renameat2", _AT_FDCWD, third, _AT_FDCWD, third + b"-attacked", 0),
    )


def change_mode(target: Target) -> Answer:
    path = target["path"]

    def by_descriptor() -> None:
        fd = os.open(path, os.O_RDONLY)
        try:
            call("fchmod", fd, 0o777)
        finally:
            os.close(fd)

    return ways(
        chmod=lambda: call("chmod", path.encode(), 0o777),
        fchmodat=lambda: call("fchmodat", _AT_FDCWD, path.encode(), 0o777),
        fchmodat2=lambda: call("fchmodat2", _AT_FDCWD, path.encode(), 0o777, 0),
        fchmod=by_descriptor,
    )


def change_times(target: Target) -> Answer:
    path = target["path"]
    times = (ctypes.c_int64 * 4)(1, 0, 1, 0)
    return ways(
        utime=lambda: os.utime(path, (1, 1)),
        utimensat=lambda: call("utimensat", _AT_FDCWD, path.encode(), times, 0),
    )


def change_owner(target: Target) -> Answer:
    return one_way(lambda: os.chown(target["path"], target["uid"], target["gid"]))


def set_attribute(target: Target) -> Answer:
    return one_way(lambda: os.setxattr(target["path"], "user.attacked", b"yes"))


def rewrite_own_code(_: Target) -> Answer:
    path = __file__
    return ways(
        **_appends(path),
        create=lambda: Path(path).with_name("attacked.py").write_text("attacked"),
        replace=lambda: os.rename(path, path + "-attacked"),  # noqa: PTH104
        truncate=lambda: os.truncate(path, 1),
    )


def open_up_own_code(_: Target) -> Answer:
    """Through a descriptor that may only read."""

    def by_descriptor() -> None:
        fd = os.open(__file__, os.O_RDONLY)
        try:
            os.fchmod(fd, 0o777)
        finally:
            os.close(fd)

    return ways(fchmod=by_descriptor, chmod=lambda: os.chmod(__file__, 0o777))  # noqa: PTH101, S103


def write_neighbour_code(target: Target) -> Answer:
    path = target["path"]
    folder = Path(path).parent
    return ways(**_appends(path), create=lambda: (folder / "attacked.py").write_text("attacked"))


def write_neighbour_data(target: Target) -> Answer:
    return write_neighbour_code(target)


def write_interpreter(target: Target) -> Answer:
    """A file beside the standard library: as a .pth file or a module it runs in every program."""
    own = (*sys.path, sys.prefix, os.path.dirname(os.__file__))  # noqa: PTH120
    folders = {path for path in (*own, *target["folders"]) if path}
    return ways(
        **{
            f"folder{number}": lambda folder=folder: Path(folder, target["name"]).write_text("")
            for number, folder in enumerate(sorted(folders))
            if os.path.isdir(folder) and "attacker" not in folder  # noqa: PTH112
        }
    )


def watch_folder(target: Target) -> Answer:
    """See which files are made in a folder."""
    path = target["path"].encode()

    def inotify() -> str:
        fd = call("inotify_init1", os.O_NONBLOCK)
        hold(lambda: os.close(fd))
        call("inotify_add_watch", fd, path, 0x100)  # IN_CREATE
        select.select([fd], [], [], 2.0)
        return os.read(fd, _ENOUGH).decode(errors="replace")

    def fanotify() -> str:
        fd = call("fanotify_init", 0x200, os.O_RDONLY)  # FAN_REPORT_FID
        hold(lambda: os.close(fd))
        folder = 0x40000000  # FAN_ONDIR
        call("fanotify_mark", fd, 0x1, 0x100 | folder, _AT_FDCWD, path)  # FAN_MARK_ADD
        select.select([fd], [], [], 2.0)
        return f"an event of {len(os.read(fd, _ENOUGH))} bytes"

    return ways(inotify=inotify, fanotify=fanotify)


def lock_host_file(target: Target) -> Answer:
    def lock(take: Callable[[int], object]) -> str:
        fd = os.open(target["path"], os.O_RDWR)
        hold(lambda: os.close(fd))
        take(fd)
        return "locked"

    return ways(
        flock=lambda: lock(lambda fd: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
        record=lambda: lock(lambda fd: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)),
    )


def _leave(target: Target) -> Answer:
    return one_way(lambda: Path(target["path"]).write_text("attacked"))


leave_file_in_tmp = leave_file_in_var_tmp = leave_file_in_dev_shm = leave_file_in_home = _leave


def make_cgroup(target: Target) -> Answer:
    return ways(
        **{
            f"mkdir{number}": lambda path=path: os.mkdir(path)  # noqa: PTH102
            for number, path in enumerate(target["paths"])
        }
    )


def write_kernel_setting(target: Target) -> Answer:
    """Opens it for writing, and writes nothing."""

    def opened() -> str:
        fd = os.open(target["path"], os.O_WRONLY)
        hold(lambda: os.close(fd))
        return f"{target['path']} is open for writing"

    return one_way(opened)
