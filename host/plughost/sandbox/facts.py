"""What may explain why a machine refuses a layer. Says nothing of whether it does: probes do."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Facts", "gather_facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """Where we run. What could not be read is None or empty."""

    kernel: str
    """The release, for people."""
    architecture: str
    interpreter: str
    """The program that a security profile would name: no symbolic link."""
    user: int
    container: str = ""
    """`docker`, `podman`, `kubernetes`, or what the container says that it is."""
    has_systemd: bool = False
    is_filtered: bool = False
    """Whether somebody's seccomp filter is on us."""
    is_chrooted: bool = False
    capabilities: int = 0
    """Our effective ones."""
    apparmor_label: str = ""
    apparmor_restricts_userns: bool = False
    """Ubuntu's sysctl that lets only programs with a profile use user namespaces."""
    userns_clone: bool | None = None
    """Debian's sysctl that lets ordinary users make them."""
    max_user_namespaces: int | None = None
    security_modules: tuple[str, ...] = ()
    """Those that the kernel was started with."""

    @property
    def is_root(self) -> bool:
        return self.user == 0

    def can(self, capability: int) -> bool:
        """Whether we have a capability of linux/capability.h."""
        return bool(self.capabilities >> capability & 1)


def gather_facts(interpreter: str) -> Facts:
    """The facts of this process and this machine."""
    status = _status(_read("/proc/self/status"))
    label = _read("/proc/self/attr/apparmor/current")
    most = _read("/proc/sys/user/max_user_namespaces")
    clone = _read("/proc/sys/kernel/unprivileged_userns_clone")
    restricts = _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    return Facts(
        kernel=platform.release(),
        architecture=platform.machine(),
        interpreter=os.path.realpath(interpreter),
        user=os.geteuid(),
        container=_container(),
        has_systemd=Path("/run/systemd/system").is_dir(),
        is_filtered=status.get("Seccomp") == "2",
        is_chrooted=_is_chrooted(_read("/proc/self/mountinfo")),
        capabilities=int(status.get("CapEff", "0"), 16),
        apparmor_label="" if label == "unconfined" else label,
        apparmor_restricts_userns=restricts == "1",
        userns_clone=None if not clone else clone == "1",
        max_user_namespaces=int(most) if most.isdigit() else None,
        security_modules=tuple(filter(None, _read("/sys/kernel/security/lsm").split(","))),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip(" \n\0")
    except OSError:
        return ""


def _status(text: str) -> Mapping[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _container() -> str:
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "kubernetes"
    if Path("/run/.containerenv").exists():
        return "podman"
    if Path("/.dockerenv").exists():
        return "docker"
    said = os.environ.get("container", "")  # noqa: SIM112 - systemd's CONTAINER_INTERFACE
    return _read("/run/systemd/container") or said


def _is_chrooted(mountinfo: str) -> bool:
    """The kernel gives no user namespace to whom its root is not the root of all mounts."""
    points = [line.split(" ")[4] for line in mountinfo.splitlines()]
    if points and "/" not in points:
        return True
    above, root = os.stat("/.."), os.stat("/")  # noqa: PTH116 - something may be mounted over us
    return (above.st_dev, above.st_ino) != (root.st_dev, root.st_ino)
