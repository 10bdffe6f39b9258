"""Which parts of the machine's file system a worker sees, before anything is granted to it."""

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import Final

from plughost.errors import PlughostError
from plughost_protocol.confinement import Bind, View

from .interpreter import Interpreter

__all__ = ["FileSystem", "Place"]

DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
TEMPORARY: Final = "/tmp"  # noqa: S108 - a tmpfs of the worker's own
_TEMPORARY_FILES: Final = 2048
_ETC: Final = ("/etc/ld.so.cache", "/etc/localtime", "/usr/share/zoneinfo")
_CERTIFICATES: Final = (
    "/etc/ssl", "/etc/pki/tls", "/etc/pki/ca-trust", "/etc/ca-certificates",
    "/usr/share/ca-certificates", "/usr/lib/ssl",
)  # fmt: skip
_PROGRAMS: Final = ("/usr/bin", "/bin", "/usr/lib", "/lib", "/lib64", "/usr/local/bin")


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or file of the machine that a worker may touch."""

    path: str
    """Absolute, without symbolic links."""
    writable: bool = False
    own: bool = False
    """Whether it is the worker's own, where it may also make symbolic links."""
    programs: bool = False
    """Whether programs in it may be executed."""


@dataclass(slots=True)
class FileSystem:
    """A worker's file system while a plan is made."""

    places: dict[str, Place] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def basic(cls, python: Interpreter) -> "FileSystem":
        """The interpreter, and the libraries that it loads."""
        made = cls()
        for path in python.libraries:
            made.add(path)
        for path in _library_folders(python.multiarch):
            made.add(path, optional=True)
        for path in _ETC:
            made.add(path, optional=True)
        return made

    def add_programs(self, python: Interpreter) -> None:
        """The system's programs, which may be executed, and the interpreter's own."""
        for path in (*_PROGRAMS, os.path.join(python.prefix, "bin")):  # noqa: PTH118
            self.add(path, optional=True, programs=True)

    def add_certificates(self) -> None:
        """The authorities that TLS connections are checked with."""
        for path in _CERTIFICATES:
            self.add(path, optional=True)

    def add(
        self,
        path: str,
        *,
        writable: bool = False,
        own: bool = False,
        programs: bool = False,
        optional: bool = False,
    ) -> None:
        """A place, and the symbolic links that lead to it. Raises `PlughostError`."""
        try:
            real = self._follow(path)
        except OSError as exc:
            if optional:
                return
            raise PlughostError(f"{path} cannot be used: {exc.strerror}") from exc
        before = self.places.get(real, Place(real))
        self.places[real] = Place(
            real,
            writable or before.writable,
            own or before.own,
            programs or before.programs,
        )

    def _follow(self, path: str) -> str:
        """The path without symbolic links. Those on the way are seen by the worker, too."""
        done, parts = "", path.split("/")
        for _ in range(40):  # as many links as the kernel follows (MAXSYMLINKS)
            while parts:
                part = parts.pop(0)
                if part == "..":  # of what the links led to, not of how it was written
                    done = done.rpartition("/")[0]
                elif part not in ("", "."):
                    step = f"{done}/{part}"
                    if stat.S_ISLNK(os.lstat(step).st_mode):
                        break
                    done = step
            else:
                return done or "/"
            target = os.readlink(step)  # noqa: PTH115
            self.links[step] = target
            parts[:0] = target.split("/")
            if target.startswith("/"):
                done = ""
        raise OSError(errno.ELOOP, "too many symbolic links")

    def bound(self) -> list[Place]:
        """The places that are mounted: those inside of another, no different one, are not."""
        kept: list[Place] = []
        for place in sorted(self.places.values(), key=lambda place: place.path):
            around = [outer for outer in kept if place.path.startswith(f"{outer.path}/")]
            if not around or around[-1].writable != place.writable:
                kept.append(place)
        return kept

    def view(self, temporary_size: int) -> View:
        """The view with its devices and a private /tmp."""
        binds = [Bind(place.path, place.writable) for place in self.bound()]
        binds += [Bind(path, device=True) for path in DEVICES]
        mounted = tuple(bind.path + "/" for bind in binds)
        links = {path: to for path, to in self.links.items() if not path.startswith(mounted)}
        return View(binds, links, self.files, temporary_size, _TEMPORARY_FILES)


def _library_folders(multiarch: str) -> list[str]:
    """Where the dynamic loader looks by itself."""
    found = ["/lib64", "/usr/lib64"]
    if multiarch:
        return [*found, f"/lib/{multiarch}", f"/usr/lib/{multiarch}"]
    return [*found, "/lib", "/usr/lib"]  # no such folders: all libraries lie there
