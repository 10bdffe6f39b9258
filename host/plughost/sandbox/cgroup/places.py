"""Where cgroups are: the mounted hierarchies, and a process's own folder in each."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["Place", "find_places"]


@dataclass(frozen=True, slots=True)
class Place:
    """One mounted hierarchy, and the folder of the process's own group in it."""

    folder: Path
    controllers: frozenset[str]
    """Of a version 1 hierarchy. None for the unified one: its groups list theirs in a file."""
    is_unified: bool


def find_places(mountinfo: str, membership: str) -> list[Place]:
    """What `/proc/self/mountinfo` and `/proc/self/cgroup` say, put together."""
    own: dict[str, str] = {}
    for line in membership.splitlines():
        _, names, group = line.split(":", 2)
        own |= dict.fromkeys(names.split(","), group)  # the unified hierarchy has the empty name
    places = []
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, point = (_unescape(field) for field in mount.split(" ")[3:5])
        is_unified = kind == "cgroup2"
        mounted = {""} if is_unified else set(re.split(r"[ ,]", options))
        controllers = mounted & own.keys()
        for group in {own[name] for name in controllers}:  # one, as they are mounted together
            path = PurePosixPath(group)
            # In a container the mount may show but a part of the hierarchy, without our group.
            if path.is_relative_to(root) and ".." not in path.parts:
                folder = Path(point) / path.relative_to(root)
                places.append(Place(folder, frozenset(controllers - {""}), is_unified))
    return places


def _unescape(field: str) -> str:
    """The kernel writes a space in a path as `\\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
