"""What a child process applies to itself before any plugin code: numbers, paths and bytes.

The host computes all of it; the child only carries it out, in one order. Both are trusted and of
one version.
"""

from typing import Final, Literal

from msgspec import Struct

__all__ = [
    "NEW_IPC",
    "NEW_MOUNTS",
    "NEW_NAMES",
    "NEW_NETWORK",
    "NEW_PIDS",
    "NEW_USER",
    "Bind",
    "Confinement",
    "LandlockRules",
    "Listener",
    "TemplateConfinement",
    "View",
]

# CLONE_NEW*, from linux/sched.h
NEW_MOUNTS: Final = 0x0002_0000
NEW_NAMES: Final = 0x0400_0000
NEW_IPC: Final = 0x0800_0000
NEW_USER: Final = 0x1000_0000
NEW_PIDS: Final = 0x2000_0000
NEW_NETWORK: Final = 0x4000_0000


class Bind(Struct, frozen=True, array_like=True):
    """A folder or file of the machine in the worker's view, at the same path."""

    path: str
    """Absolute, without symbolic links; one that has one is refused."""
    writable: bool = False
    """Writable folders hold no programs: no execution, no set-user-id, no devices."""
    device: bool = False


class View(Struct, frozen=True, array_like=True):
    """The worker's file system: an empty one, and what is bound into it."""

    binds: list[Bind]
    """Outer folders first."""
    links: dict[str, str]
    """Symbolic links: path to target."""
    files: dict[str, str]
    """Files that are made: path to text."""
    temporary_size: int
    """Bytes that the private /tmp holds."""
    temporary_files: int


class Listener(Struct, frozen=True, array_like=True):
    """A socket that the child makes in its network namespace and hands to the host."""

    kind: Literal["tcp", "udp"]
    """A `tcp` one listens, too."""
    address: str
    port: int


class LandlockRules(Struct, frozen=True, array_like=True):
    """A Landlock ruleset, as linux/landlock.h has it."""

    handled_fs: int
    handled_net: int
    scoped: int
    paths: list[tuple[str, int]]
    """Path and access rights. A path that is not there is an error."""
    connect_ports: list[int]


class Confinement(Struct, frozen=True, array_like=True):
    """All layers of one worker. What is None or 0 is not applied."""

    rlimits: list[tuple[int, int]]
    """Resource and limit, soft and hard alike. RLIMIT_NPROC counts in the new user namespace."""
    namespaces: int = 0
    """NEW_* flags for unshare(2)."""
    listeners: list[Listener] = []
    view: View | None = None
    ids: tuple[int, int] | None = None
    """User and group id to change to."""
    landlock: LandlockRules | None = None
    filter: bytes = b""
    """A seccomp program: struct sock_filter[]."""
    pid_slots: list[int] = []
    """Byte offsets in it where the child writes its process id."""


class TemplateConfinement(Struct, frozen=True, array_like=True):
    """What the template process applies to itself, and its workers inherit."""

    namespaces: int = 0
    keep_capabilities: int = 0
    """The mask of those that stay in the bounding set; 0 leaves it as it is."""
    filter: bytes = b""
    rehearse: bool = False
    """Whether it warms up first what its workers share: worth its 45 ms where they are many."""
