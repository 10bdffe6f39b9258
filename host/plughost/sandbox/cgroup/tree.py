"""Where the groups of a host stand, and whether it may make any."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final

import psutil

from plughost.config import Limits

from .group import Cgroup, CgroupError, read, write
from .places import Place, find_places
from .v1 import CgroupV1
from .v2 import CgroupV2

__all__ = ["CgroupTree", "NoCgroup"]

_PREFIX: Final = "plughost-"
_HOST_LEAF: Final = "plughost-host"
"""Where a host goes that must leave its delegated group: that one may then hold no process."""

_ENFORCE: Final = {"memory": "memory", "cpu": "cpu", "pids": "processes"}
_REMEDY: Final = (
    "start the host by 'systemd-run --user --scope -p Delegate=yes plughost run', or in a service "
    "with Delegate=yes; in Docker with --security-opt writable-cgroups=true; in Kubernetes with "
    "containerd's cgroup_writable = true"
)


_serial: Final = count(1)  # of all trees: an application may have several hosts


@dataclass(frozen=True, slots=True)
class NoCgroup:
    """Why there are no groups here, and how to get them."""

    reason: str
    remedy: str = _REMEDY

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}"


class CgroupTree:
    """Makes groups below the one that the host is in. Their names hold the host's process id."""

    def __init__(self, folders: Mapping[str, Path], *, is_unified: bool) -> None:
        """`folders` by controller; with a unified hierarchy all are the same one."""
        self.folders = dict(folders)
        self.is_unified = is_unified
        self._groups: list[Cgroup] = []

    @classmethod
    def find(cls) -> "CgroupTree | NoCgroup":
        """The tree, if groups can be made, limited, entered and removed: each is tried.

        Takes some 40 ms the first time. May move this process to a group `plughost-host` below
        its own.
        """
        found = _find()
        if isinstance(found, NoCgroup):
            return found
        return cls(found.folders, is_unified=found.is_unified)

    @classmethod
    def look(cls) -> "CgroupTree | NoCgroup":
        """The same, tried anew."""
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
            membership = Path("/proc/self/cgroup").read_text(encoding="utf-8")
        except OSError:
            return NoCgroup("there are no cgroups on this system", "they are Linux's")
        tree = cls.locate(find_places(mountinfo, membership))
        if isinstance(tree, NoCgroup):
            return tree
        return tree.probe() or tree

    @classmethod
    def locate(cls, places: list[Place]) -> "CgroupTree | NoCgroup":
        """The tree that these places allow; prepares a unified hierarchy, and tries nothing."""
        if not places:
            return NoCgroup("no cgroup file system is mounted")
        for place in places:
            if place.is_unified and "memory" in _controllers(place.folder):
                return _delegated(place.folder)
        folders = {name: place.folder for place in places for name in place.controllers}
        if "memory" not in folders:
            return NoCgroup("the memory controller is not available to this process's group")
        if "cpuacct" not in folders:
            return NoCgroup("the controller cpuacct is not mounted")
        wanted = ("memory", "cpuacct", "cpu", "pids")
        return cls({name: folders[name] for name in wanted if name in folders}, is_unified=False)

    def create(self, name: str, limits: Limits) -> Cgroup:
        """A new group with these limits. Raises `CgroupError`."""
        label = f"{_PREFIX}{os.getpid()}-{next(_serial)}-{name}"
        group: Cgroup
        if self.is_unified:
            enforces = [_ENFORCE[controller] for controller in self.folders]
            group = CgroupV2(self.folders["memory"] / label, enforces)
        else:
            group = CgroupV1({key: folder / label for key, folder in self.folders.items()})
        try:
            group.make(limits)
        except OSError as exc:
            group.remove(0)
            raise CgroupError(f"making {group.folder}", exc) from exc
        self._groups.append(group)
        return group

    def probe(self) -> NoCgroup | None:
        """Make a group, put a process in, remove it. Why that fails, if it does."""
        try:
            group = self.create("probe", Limits())
        except CgroupError as exc:
            return NoCgroup(str(exc))
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"],
                stdin=subprocess.PIPE,
            )
            with child:
                group.add(child.pid)
                if child.pid not in group.pids():
                    return NoCgroup(f"a process that was moved to {group.folder} is not there")
            if "memory" in group.enforces:
                group.memory()
            group.cpu_seconds()
        except (CgroupError, OSError, KeyError, ValueError) as exc:
            return NoCgroup(f"{group.folder}: {exc}")
        finally:
            group.kill()
            removed = group.remove()
            self._groups.remove(group)
        return None if removed else NoCgroup(f"{group.folder} cannot be removed")

    def sweep(self) -> int:
        """Remove the groups of hosts that are gone, if empty. Returns how many folders went."""
        removed = 0
        for folder in set(self.folders.values()):
            for group in folder.glob(f"{_PREFIX}*-*"):
                pid = group.name.removeprefix(_PREFIX).partition("-")[0]
                # A host in another pid namespace looks gone, too: so nothing is killed here, and
                # the kernel refuses to remove a group with processes.
                if pid.isdigit() and not psutil.pid_exists(int(pid)):
                    with suppress(OSError):
                        group.rmdir()
                        removed += 1
        return removed

    def close(self) -> None:
        """Kill what is left in the groups of this host, and remove them."""
        groups, self._groups = self._groups, []
        for group in groups:
            with suppress(OSError):  # it is removed
                group.kill()
            group.remove()

    def forget(self, group: Cgroup) -> None:
        """It has been removed."""
        if group in self._groups:
            self._groups.remove(group)

    def __repr__(self) -> str:
        version = 2 if self.is_unified else 1
        return f"<CgroupTree v{version} {self.folders['memory']} {'+'.join(self.folders)}>"


@cache
def _find() -> CgroupTree | NoCgroup:
    return CgroupTree.look()


def _controllers(folder: Path) -> set[str]:
    """What the group above has switched on for this one."""
    try:
        return set(read(folder / "cgroup.controllers").decode().split())
    except OSError:
        return set()


def _delegated(
    folder: Path,
    is_handed_over: Callable[[Path], bool] | None = None,
) -> CgroupTree | NoCgroup:
    """Switch the controllers on for groups below this one, which must be ours alone."""
    if folder.name == _HOST_LEAF:  # an earlier host has moved itself, and us with it
        folder = folder.parent
    if not (is_handed_over or _is_handed_over)(folder):
        return NoCgroup(f"systemd manages {folder} itself, and may undo what others do there")
    wanted = [name for name in _ENFORCE if name in _controllers(folder)]
    try:
        enabled = read(folder / "cgroup.subtree_control").decode().split()
        if not set(wanted) <= set(enabled):
            if (folder / "cgroup.type").exists():  # all but the root: no processes beside groups
                inside = {int(pid) for pid in read(folder / "cgroup.procs").split()}
                others = inside - _our_processes()
                if others:
                    return NoCgroup(
                        f"the group {folder} holds {len(others)} processes that are not the "
                        f"host's, and the kernel limits groups only below one without processes"
                    )
                _move_to_leaf(folder, inside)
            write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in wanted))
    except OSError as exc:
        return NoCgroup(f"{folder}: {exc.strerror}")
    return CgroupTree(dict.fromkeys(wanted, folder), is_unified=True)


def _move_to_leaf(folder: Path, pids: set[int]) -> None:
    leaf = folder / _HOST_LEAF
    leaf.mkdir(exist_ok=True)
    for pid in pids:
        with suppress(ProcessLookupError):
            write(leaf / "cgroup.procs", pid)


def _our_processes() -> set[int]:
    host = psutil.Process()
    return {host.pid, *(child.pid for child in host.children(recursive=True))}


def _is_handed_over(folder: Path) -> bool:
    """Whether systemd leaves the group to us. An ordinary user can write only where it does."""
    if os.geteuid() != 0 or not Path("/run/systemd/system").is_dir():
        return True
    for name in ("user.delegate", "trusted.delegate"):  # what systemd marks delegated groups with
        with suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False
