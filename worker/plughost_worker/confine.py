"""The layers of the sandbox, applied by the child to itself before any plugin code.

The order is part of the design: each step takes away what a later one would need, and nothing
that an earlier one still does. Namespaces; the sockets that the host is given; resource limits;
the view of the file system; an id without privileges; capabilities; no new privileges;
Landlock; the filter of system calls.
"""

import fcntl
import os
import resource
import socket
import stat
import struct
from contextlib import suppress
from typing import Final

from plughost_protocol.confinement import (
    NEW_USER,
    Confinement,
    LandlockRules,
    Listener,
    TemplateConfinement,
    View,
)

from . import kernel

__all__ = [
    "LayerRefused",
    "apply",
    "confine_template",
    "enter_namespaces",
    "fork_first_process",
    "seal",
]

_HOSTNAME: Final = "plugin"
_ROOT_OPTIONS: Final = "size=1m,nr_inodes=1k,mode=755"


class LayerRefused(Exception):
    """Raised when the machine refuses a layer: which one, what was tried, and the errno."""

    def __init__(self, layer: str, action: str, errno: int) -> None:
        super().__init__(f"{layer}: {action}: {os.strerror(errno)}")
        self.layer = layer
        self.action = action
        self.errno = errno


class _Layer:
    """Has what the machine refuses in its block be the refusal of a layer."""

    __slots__ = ("_action", "_name")

    def __init__(self, name: str, action: str) -> None:
        self._name = name
        self._action = action

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise LayerRefused(self._name, self._action, error.errno or 0) from error


def apply(confinement: Confinement) -> list[socket.socket]:
    """All layers but the filter. The sockets that the host is to have. Raises `LayerRefused`."""
    sockets: list[socket.socket] = []
    if confinement.namespaces:
        enter_namespaces(confinement.namespaces)
        sockets = _listen(confinement.listeners)
    for kind, limit in confinement.rlimits:
        with _Layer("rlimits", f"setrlimit {kind} to {limit}"):
            resource.setrlimit(kind, (limit, limit))
    if confinement.view is not None:
        _enter_view(confinement.view)
    # Without a view, the user that the worker becomes may not reach all that it may read.
    ruleset = None if confinement.landlock is None else _ruleset(confinement.landlock)
    _drop_privileges(confinement)
    if ruleset is not None:
        with _Layer("landlock", "restrict itself"):
            ruleset.restrict()
    return sockets


def seal(confinement: Confinement) -> None:
    """The last layer: from here on only the system calls that a plugin may make."""
    if confinement.filter:
        program = bytearray(confinement.filter)
        for offset in confinement.pid_slots:
            struct.pack_into("=I", program, offset, os.getpid())
        with _Layer("seccomp", "install the filter"):
            kernel.install_filter(bytes(program))


def confine_template(confinement: TemplateConfinement) -> None:
    """What the template applies to itself, after it has entered its namespaces.

    Its workers inherit all of it.
    """
    # Where memory runs short the kernel takes the largest of these, and the host last.
    with _Layer("rlimits", "write /proc/self/oom_score_adj"):
        _write("/proc/self/oom_score_adj", "1000")
    if confinement.namespaces:
        with _Layer("namespaces", "sethostname"):
            kernel.set_hostname(_HOSTNAME)
    if confinement.keep_capabilities:
        with _Layer("capabilities", "limit them"):
            kernel.limit_capabilities(confinement.keep_capabilities)
            kernel.keep_capabilities(confinement.keep_capabilities)
    with _Layer("seccomp", "set no_new_privs"):
        kernel.no_new_privileges()
    if confinement.filter:
        with _Layer("seccomp", "install the template's filter"):
            kernel.install_filter(confinement.filter)


def enter_namespaces(flags: int) -> None:
    """Unshare, and where that makes a user namespace, be the same user in it."""
    user, group = os.geteuid(), os.getegid()
    with _Layer("namespaces", f"unshare {flags:#x}"):
        kernel.unshare(flags)
    if flags & NEW_USER:
        # A distribution may let anybody make a user namespace and give no power in it.
        with _Layer("namespaces", "write /proc/self/uid_map"):
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{user} {user} 1")
            _write("/proc/self/gid_map", f"{group} {group} 1")


def fork_first_process() -> int:
    """The first process of the namespaces that were entered, as a child of our parent.

    Returns its process id, and 0 in it. Raises `LayerRefused`.
    """
    with _Layer("namespaces", "clone with CLONE_PARENT"):
        return kernel.fork_sibling()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


_SIOCSIFFLAGS: Final = 0x8914  # linux/sockios.h
_IFF_UP: Final = 1
_BACKLOG: Final = 64


def _listen(listeners: list[Listener]) -> list[socket.socket]:
    """Bring the loopback up and make the sockets, which stay in this network namespace."""
    if not listeners:
        return []
    with (
        _Layer("namespaces", "bring up the loopback"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    sockets = []
    for listener in listeners:
        with _Layer("namespaces", f"listen on {listener.address}:{listener.port}"):
            tcp = listener.kind == "tcp"
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
            made.bind((listener.address, listener.port))
            if tcp:
                made.listen(_BACKLOG)
            sockets.append(made)
    return sockets


# A mount point that always exists and below which nothing of a plugin's lies.
_BASE: Final = "/proc"
_READ_ONLY: Final = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
_WRITABLE: Final = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV | kernel.MOUNT_ATTR_NOEXEC
_DEVICE: Final = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NOEXEC
_NO_PROGRAMS: Final = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


def _enter_view(view: View) -> None:
    """Build a root of its own from what the plugin may see, and leave the machine's behind."""
    umask = os.umask(0o022)
    made = {_BASE}
    with _Layer("mounts", "make the mounts private"):
        kernel.mount("", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    with _Layer("mounts", f"mount a tmpfs on {_BASE}"):
        kernel.mount("tmpfs", _BASE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, _ROOT_OPTIONS)
    with _Layer("mounts", "mount a tmpfs on /tmp"):
        _make_folder(_BASE + "/tmp", made)  # noqa: S108
        size = f"size={view.temporary_size},nr_inodes={view.temporary_files},mode=1777"
        kernel.mount("tmpfs", _BASE + "/tmp", "tmpfs", _NO_PROGRAMS, size)  # noqa: S108
    for path, target in view.links.items():
        with _Layer("mounts", f"link {path}"):
            _make_folder(os.path.dirname(_BASE + path), made)
            os.symlink(target, _BASE + path)
    for bind in view.binds:
        with _Layer("mounts", f"bind {bind.path}"):
            attributes = _DEVICE if bind.device else _WRITABLE if bind.writable else _READ_ONLY
            _bind(bind.path, attributes, made)
    for path, text in view.files.items():
        with _Layer("mounts", f"write {path}"):
            _make_folder(os.path.dirname(_BASE + path), made)
            with open(_BASE + path, "w", encoding="utf-8") as file:
                file.write(text)
    with _Layer("mounts", "make it the root"):
        kernel.pivot_root(_BASE)
        kernel.make_read_only("/")
    os.umask(umask)


def _make_folder(path: str, made: set[str]) -> None:
    """Make a folder and those around it, but for those that are made: each look takes time."""
    if path in made:
        return
    made.add(path)
    _make_folder(os.path.dirname(path), made)
    with suppress(FileExistsError):  # within a folder that is bound, or behind a link
        os.mkdir(path)


def _bind(path: str, attributes: int, made: set[str]) -> None:
    source = kernel.open_path(path)
    try:
        target = _BASE + path
        if stat.S_ISDIR(os.fstat(source).st_mode):
            _make_folder(target, made)
        elif not os.path.exists(target):
            _make_folder(os.path.dirname(target), made)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
        kernel.bind_mount(source, target, attributes)
    finally:
        os.close(source)


def _drop_privileges(confinement: Confinement) -> None:
    ids = confinement.ids
    # An ordinary user in the machine's own user namespace may not, and has nothing to drop.
    if os.geteuid() == 0 or confinement.namespaces & NEW_USER:
        with _Layer("capabilities", "drop the bounding set"):
            kernel.limit_capabilities(0)
    if os.geteuid() == 0 or ids is not None:
        with _Layer("capabilities", "lock the powers of user id 0"):
            kernel.lock_root()
    if ids is not None:
        user, group = ids
        with _Layer("uid", f"become user {user}"):
            os.setgroups([])
            os.setresgid(group, group, group)
            os.setresuid(user, user, user)
    with _Layer("capabilities", "capset"):
        kernel.keep_capabilities(0)
    with _Layer("seccomp", "set no_new_privs"):
        kernel.no_new_privileges()


def _ruleset(rules: LandlockRules) -> kernel.Ruleset:
    with _Layer("landlock", "create the ruleset"):
        ruleset = kernel.Ruleset(rules.handled_fs, rules.handled_net, rules.scoped)
    for path, access in rules.paths:
        with _Layer("landlock", f"allow {path}"):
            ruleset.allow_path(path, access)
    for port in rules.connect_ports:
        with _Layer("landlock", f"allow connections to port {port}"):
            ruleset.allow_connect(port)
    return ruleset
