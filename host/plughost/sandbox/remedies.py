"""How to get a layer that a machine refuses: from the errno of a probe, and what explains it."""

import errno
from collections.abc import Callable, Mapping
from typing import Final

from plughost.config import Layer
from plughost_protocol.probing import Finding

from .facts import Facts

__all__ = ["apparmor_profile", "remedies_for"]

# linux/capability.h
_SETGID, _SETUID, _SETPCAP, _NET_ADMIN, _SYS_ADMIN = 6, 7, 8, 12, 21

_REFUSED: Final = (errno.EPERM, errno.EACCES)

_DOCKER: Final = (
    "in Docker: docker run --user 1000:1000 --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined ... (the workers' own filter is narrower than Docker's; "
    "or keep Docker's default profile and add to it unshare, clone, mount, umount2, pivot_root, "
    "open_tree, move_mount, mount_setattr and sethostname)"
)
_PODMAN: Final = (
    "in Podman: podman run --user 1000:1000 --security-opt seccomp=unconfined "
    "--security-opt label=disable ... (the workers' own filter is narrower than Podman's)"
)
_KUBERNETES: Final = (
    "in Kubernetes: in the container's securityContext set runAsUser: 1000, "
    "seccompProfile: {type: Unconfined} and appArmorProfile: {type: Unconfined} (the workers' own "
    "filter is narrower than the runtime's); the node must allow user namespaces"
)
_UNIT: Final = (
    "in a systemd unit: no RestrictNamespaces=, and no SystemCallFilter= that lacks @mount"
)
_NO_NUMBER: Final = (
    "sysctl -w user.max_user_namespaces=15000, and the same line in /etc/sysctl.d/: it is 0, as on "
    "some RHEL systems"
)
_ALL_IN_USE: Final = "raise user.max_user_namespaces and its siblings: all are in use"
_WITHOUT_NAMESPACES: Final = (
    "another kernel: this one is built without some of CONFIG_USER_NS, CONFIG_PID_NS, "
    "CONFIG_NET_NS, CONFIG_IPC_NS, CONFIG_UTS_NS"
)
_APPARMOR: Final = (
    "AppArmor lets only programs with a profile use user namespaces (Ubuntu 23.10 and later): "
    "plughost doctor --apparmor-profile | sudo tee /etc/apparmor.d/plughost, then "
    "sudo apparmor_parser -r /etc/apparmor.d/plughost; the profile is for {}: give plughost an "
    "interpreter of its own (python -m venv --copies), or every script of that one has it"
)
_APPARMOR_OFF: Final = (
    "or, for every program: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
)
_DEBIAN: Final = "sysctl -w kernel.unprivileged_userns_clone=1, and the same line in /etc/sysctl.d/"
_CHROOTED: Final = (
    "leave the chroot, for a container say: the kernel makes no user namespace in one, or where "
    "something is mounted over /"
)
_POWERLESS_ROOT: Final = (
    "start it as an ordinary user: a root without CAP_SYS_ADMIN and CAP_NET_ADMIN can build no "
    "sandbox, an ordinary user can, in a user namespace"
)
_NO_IDS: Final = (
    "start it as an ordinary user, or map more user ids into this container (/etc/subuid, or "
    "without a user namespace of its own)"
)
_UNREACHABLE: Final = (
    "an interpreter and plugins outside of a private home folder, or the layer mounts, which "
    "shows a worker what it needs wherever it lies"
)
_NO_CAUSE: Final = (
    "no cause that is known here: look for a security module's refusal in "
    "'journalctl -k' or 'ausearch -m avc'"
)


def remedies_for(finding: Finding, facts: Facts) -> tuple[str, ...]:
    """What to do, the best first; nothing for a finding that is no problem."""
    if finding.ok:
        return ()
    layer = finding.layer or finding.probe
    return _REMEDIES.get(layer, _other)(finding, facts)


def apparmor_profile(interpreter: str) -> str:
    """A profile that lets one interpreter use user namespaces, and changes nothing else."""
    return (
        "abi <abi/4.0>,\n"
        "include <tunables/global>\n\n"
        f'profile plughost "{interpreter}" flags=(unconfined) {{\n'
        "  userns,\n"
        "  include if exists <local/plughost>\n"
        "}\n"
    )


def _namespaces(finding: Finding, facts: Facts) -> tuple[str, ...]:
    if finding.errno in (errno.ENOSPC, errno.EUSERS):
        return (_NO_NUMBER if facts.max_user_namespaces == 0 else _ALL_IN_USE,)
    if finding.errno in (errno.ENOSYS, errno.EINVAL):
        return (_WITHOUT_NAMESPACES,)
    if finding.errno not in _REFUSED:
        return _other(finding, facts)
    if not facts.is_root:
        if facts.apparmor_restricts_userns:
            return _APPARMOR.format(facts.interpreter), _APPARMOR_OFF
        if facts.userns_clone is False:
            return (_DEBIAN,)
        if facts.is_chrooted:
            return (_CHROOTED,)
    return _refused(facts)


def _refused(facts: Facts) -> tuple[str, ...]:
    """Somebody's profile, or root without its powers."""
    if facts.is_root and not (facts.can(_SYS_ADMIN) and facts.can(_NET_ADMIN)):
        return _POWERLESS_ROOT, *_profile(facts)
    return _profile(facts) or (_NO_CAUSE,)


def _profile(facts: Facts) -> tuple[str, ...]:
    by_container = {"docker": _DOCKER, "podman": _PODMAN, "kubernetes": _KUBERNETES}
    if facts.container in by_container:
        return (by_container[facts.container],)
    if facts.container:
        return (f"allow it in the profile of the container ({facts.container})", _DOCKER)
    if facts.is_filtered:
        return (_UNIT, _DOCKER) if facts.has_systemd else (_DOCKER, _KUBERNETES)
    return ()


def _mounts(finding: Finding, facts: Facts) -> tuple[str, ...]:
    hidden = _profile(facts) if facts.is_filtered else ()
    if finding.errno == errno.ENOSYS:
        needed = "a kernel with open_tree, move_mount and mount_setattr (5.12 and later)"
        return _or_unhide(needed, hidden)
    if finding.errno not in _REFUSED:
        return _other(finding, facts)
    if facts.apparmor_label:
        profile = f"another AppArmor profile than {facts.apparmor_label}, which may refuse mounts"
        return profile, *_profile(facts)
    return _refused(facts)


def _or_unhide(needed: str, hidden: tuple[str, ...]) -> tuple[str, ...]:
    return (
        (f"{needed}, or a seccomp profile that does not hide it", *hidden) if hidden else (needed,)
    )


def _landlock(finding: Finding, facts: Facts) -> tuple[str, ...]:
    if finding.errno == errno.EOPNOTSUPP:
        now = ",".join(facts.security_modules) or "..."
        return (f"start the kernel with lsm=landlock,{now}: it has Landlock, and does not use it",)
    hidden = _profile(facts) if facts.is_filtered else ()
    if finding.errno == errno.ENOSYS:
        needed = "a kernel with CONFIG_SECURITY_LANDLOCK (5.13 and later)"
        return _or_unhide(needed, hidden)
    if finding.errno in _REFUSED:
        return hidden or (_NO_CAUSE,)
    return _other(finding, facts)


def _seccomp(finding: Finding, facts: Facts) -> tuple[str, ...]:
    if finding.errno in (errno.EINVAL, errno.ENOSYS):
        return ("a kernel with CONFIG_SECCOMP_FILTER",)
    if finding.errno in _REFUSED:
        return _profile(facts) or (_NO_CAUSE,)
    if finding.errno == 0 and facts.architecture not in ("x86_64", "aarch64"):
        return ("a machine of another architecture: x86_64 or aarch64",)
    return _other(finding, facts)


def _uid(finding: Finding, facts: Facts) -> tuple[str, ...]:
    if finding.action.startswith("read "):
        return (_UNREACHABLE,)
    return (_NO_IDS,) if finding.errno == 0 else _capabilities(finding, facts)


def _capabilities(_: Finding, facts: Facts) -> tuple[str, ...]:
    names = {"SETUID": _SETUID, "SETGID": _SETGID, "SETPCAP": _SETPCAP}
    lacking = [name for name, number in names.items() if not facts.can(number)]
    if not lacking:
        return _profile(facts) or (_NO_CAUSE,)
    flags = " ".join(f"--cap-add {name}" for name in lacking)
    listed = f"securityContext.capabilities.add: [{', '.join(lacking)}]"
    more = f"or leave root its own: docker run {flags}; in Kubernetes {listed}"
    return "start it as an ordinary user, who needs no capability", more


def _other(_: Finding, facts: Facts) -> tuple[str, ...]:
    return _profile(facts) if facts.is_filtered else (_NO_CAUSE,)


_REMEDIES: Final[Mapping[str, Callable[[Finding, Facts], tuple[str, ...]]]] = {
    Layer.UID: _uid,
    Layer.NAMESPACES: _namespaces,
    Layer.MOUNTS: _mounts,
    Layer.LANDLOCK: _landlock,
    Layer.SECCOMP: _seccomp,
    "capabilities": _capabilities,
}
