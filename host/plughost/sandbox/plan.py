"""The sandbox of one worker, computed before there is a process: what it may touch, and how that
is held."""

import os
import resource
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plughost.config import Layer, Limits, Sandbox
from plughost.errors import PlughostError
from plughost.units import MiB
from plughost_protocol.confinement import (
    NEW_IPC,
    NEW_MOUNTS,
    NEW_NAMES,
    NEW_NETWORK,
    NEW_PIDS,
    NEW_USER,
    Confinement,
    LandlockRules,
    Listener,
    TemplateConfinement,
    View,
)

from .interpreter import Interpreter
from .landlock import EXECUTE, GRANTED, OWN, READ_FILE, READABLE
from .machine import Machine
from .seccomp import Filter, SyscallRules, template_filter, worker_filter
from .view import DEVICES, TEMPORARY, FileSystem, Place

__all__ = [
    "Access",
    "NetworkNeeds",
    "PlanRefused",
    "SandboxPlan",
    "how_to_waive",
    "make_plan",
    "prepare_data_folder",
    "template_confinement",
]

# Beyond the memory limit: interpreter, libraries and thread stacks map far more than they touch.
# The cgroup or the watch sees what is touched; these stop what grows faster than they look.
_ADDRESS_SPACE_SLACK: Final = 1024 * MiB
_DATA_SLACK: Final = 256 * MiB  # 16 threads with a stack of 8 MiB, and as much again

_MALLOC: Final = {
    # One arena: many threads would else keep 64 MiB of address space each.
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class PlanRefused(PlughostError):
    """Raised when a plan cannot be met on this machine, before anything is started."""

    def __init__(self, reason: str, layer: Layer | None = None) -> None:
        # A cgroup is asked for by a setting of its own, which no waiver takes back.
        waiver = how_to_waive(layer) if layer not in (None, Layer.CGROUP) else ""
        super().__init__(f"{reason}; {waiver}" if waiver else reason)
        self.reason = reason
        self.layer = layer


def how_to_waive(layer: str) -> str:
    """The settings that do without a layer; nothing for what cannot be waived."""
    if layer not in set(Layer):
        return ""
    return (
        f"to do without it: plughost run --without {layer}, or "
        f'HostConfig(sandbox=Sandbox(without={{"{layer}"}}))'
    )


@dataclass(frozen=True, slots=True)
class NetworkNeeds:
    """What `net:connect` needs in the worker: its sockets and the files that resolve names."""

    hosts: tuple[str, ...]
    """What is granted, for people."""
    listeners: tuple[Listener, ...]
    connect_ports: tuple[int, ...]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Access:
    """What a plugin's effective permissions open to its process. Paths are checked ones."""

    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Names of environment variables of the host."""
    processes: bool = False
    network: NetworkNeeds | None = None


@dataclass(frozen=True, slots=True)
class SandboxPlan:
    """What one worker may touch. Printable; the child only carries it out."""

    plugin_id: str
    layers: frozenset[Layer]
    places: tuple[Place, ...]
    """The parts of the file system that it sees; all others are not there."""
    view: View | None
    """The file system that is built for it; None leaves it the machine's."""
    data_folder: str
    environment: Mapping[str, str]
    working_folder: str
    rlimits: tuple[tuple[int, int], ...]
    user: int | None
    """The user id that it changes to; None keeps ours."""
    system_calls: SyscallRules
    network: NetworkNeeds | None
    machine: Machine

    def confinement(self) -> Confinement:
        """For the child."""
        program = Filter(b"", ())
        if Layer.SECCOMP in self.layers:
            program = worker_filter(self.system_calls, self.machine.architecture)
        return Confinement(
            rlimits=list(self.rlimits),
            namespaces=self._namespaces,
            listeners=list(self.network.listeners) if self.network else [],
            view=self.view,
            ids=None if self.user is None else (self.user, self.user),
            landlock=self._landlock() if Layer.LANDLOCK in self.layers else None,
            filter=program.program,
            pid_slots=list(program.pid_slots),
        )

    @property
    def _namespaces(self) -> int:
        if Layer.NAMESPACES not in self.layers:
            return 0
        user = 0 if self.machine.is_root else NEW_USER
        return NEW_IPC | NEW_NETWORK | user | (NEW_MOUNTS if self.view else 0)

    def _landlock(self) -> LandlockRules:
        features = self.machine.landlock
        paths = []
        for place in self.places:
            wanted = (OWN if place.own else GRANTED) if place.writable else READABLE
            wanted |= EXECUTE if place.programs else 0
            paths.append((place.path, features.rights(place.path, wanted)))
        writable = features.rights(DEVICES[0], GRANTED)
        paths += [(path, writable) for path in DEVICES]
        if self.view is not None:
            paths.append((TEMPORARY, OWN & features.fs))
            paths += [(path, READ_FILE) for path in self.view.files]
        connect = list(self.network.connect_ports) if self.network and features.net else []
        return LandlockRules(features.fs, features.net, features.scoped, paths, connect)


def make_plan(
    plugin_id: str,
    root: Path | None,
    data_folder: Path,
    access: Access,
    limits: Limits,
    sandbox: Sandbox,
    python: Interpreter,
    machine: Machine,
) -> SandboxPlan:
    """The plan for one plugin, whose code is `root`: a folder, one file, or nothing on disk.

    Raises `PlanRefused` where this machine cannot meet it.
    """
    layers = _layers(sandbox, machine)
    user = _user(plugin_id, layers, machine)
    if access.network and not {Layer.NAMESPACES, Layer.MOUNTS, Layer.SECCOMP} <= layers:
        # Landlock knows ports and no names, and without seccomp there is more than TCP.
        raise PlanRefused(
            "net:connect needs the layers namespaces, mounts and seccomp: without them a plugin "
            "could connect anywhere; run it without that permission"
        )
    files = FileSystem.basic(python)
    data = os.path.realpath(data_folder)
    if root is not None:
        files.add(str(root))
    folder = _working_folder(root, data)
    files.places[data] = Place(data, writable=True, own=True)  # it may be still to be made
    for path in access.readable:
        files.add(path)
    for path in access.writable:
        files.add(path, writable=True)
    if access.processes:
        files.add_programs(python)
    if access.network:
        files.add_certificates()
        files.files.update(access.network.files)
    has_view = Layer.MOUNTS in layers
    if user is not None and not has_view:
        _check_reach(user, (*python.libraries, folder, str(Path(data).parent)))
    return SandboxPlan(
        plugin_id=plugin_id,
        layers=layers,
        places=tuple(files.places.values()),
        view=files.view(limits.temporary_size) if has_view else None,
        data_folder=data,
        environment=_environment(data, access, has_view=has_view),
        working_folder=folder,
        rlimits=_rlimits(limits, layers, user, machine),
        user=user,
        system_calls=SyscallRules(
            mount_view=has_view, network=access.network is not None, process=access.processes
        ),
        network=access.network,
        machine=machine,
    )


def _working_folder(root: Path | None, data: str) -> str:
    if root is None:
        return data
    return str(root.parent if root.is_file() else root)


def template_confinement(sandbox: Sandbox, machine: Machine) -> TemplateConfinement:
    """What the template process of such workers applies to itself."""
    layers = _layers(sandbox, machine)
    namespaces = 0
    if Layer.NAMESPACES in layers:
        namespaces = NEW_NAMES | NEW_IPC | NEW_NETWORK | NEW_PIDS
        namespaces |= 0 if machine.is_root else NEW_USER
    return TemplateConfinement(
        namespaces=namespaces,
        keep_capabilities=_TEMPLATE_CAPABILITIES if machine.is_root else 0,
        filter=template_filter(machine.architecture).program if Layer.SECCOMP in layers else b"",
    )


# linux/capability.h: what is left to root's template to set up workers and to end them. Dropping
# the others is SETPCAP's, building a view SYS_ADMIN's, the loopback NET_ADMIN's; DAC_OVERRIDE
# reaches what root may reach, SYS_RESOURCE lets a limit be raised to what the plan says.
_TEMPLATE_CAPABILITIES: Final = sum(
    1 << number
    for number in (
        1,  # DAC_OVERRIDE
        2,  # DAC_READ_SEARCH
        5,  # KILL
        6,  # SETGID
        7,  # SETUID
        8,  # SETPCAP
        10,  # NET_BIND_SERVICE
        12,  # NET_ADMIN
        21,  # SYS_ADMIN
        24,  # SYS_RESOURCE
    )
)


def prepare_data_folder(plan: SandboxPlan) -> None:
    """Make the plugin's data folder, if it is not there, and give it to the worker's user."""
    folder = Path(plan.data_folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if plan.user is not None and folder.stat().st_uid != plan.user:
            _give(folder, plan.user)
    except OSError as exc:
        raise PlanRefused(f"the data folder {folder} cannot be made: {exc.strerror}") from exc


def _give(folder: Path, user: int) -> None:
    # A link's own owner is changed, never its target's: a plugin could have made it.
    os.chown(folder, user, user, follow_symlinks=False)
    for path, _, names, at in os.fwalk(folder, follow_symlinks=False):
        os.chown(path, user, user, follow_symlinks=False)
        for name in names:
            os.chown(name, user, user, dir_fd=at, follow_symlinks=False)


def _layers(sandbox: Sandbox, machine: Machine) -> frozenset[Layer]:
    """The layers that are asked for: all that the operator has not waived."""
    layers = frozenset(Layer) - sandbox.without - {Layer.CGROUP}
    if Layer.NAMESPACES not in layers:
        layers -= {Layer.MOUNTS}
    if not machine.is_root:
        layers -= {Layer.UID}
    if Layer.LANDLOCK in layers:
        if machine.landlock.abi == 0:
            raise PlanRefused(
                "this kernel has no Landlock (it came with 5.13, and must stand in lsm=)",
                Layer.LANDLOCK,
            )
        if machine.landlock.abi < _LANDLOCK_TRUNCATE and Layer.MOUNTS not in layers:
            raise PlanRefused(
                "without mounts, Landlock must know the truncation of files (kernel 6.2)",
                Layer.LANDLOCK,
            )
    return layers


_LANDLOCK_TRUNCATE: Final = 3  # the ABI that knows it


def _user(plugin_id: str, layers: frozenset[Layer], machine: Machine) -> int | None:
    if Layer.UID not in layers:
        return None
    user = machine.id_for(plugin_id)
    if user is None:
        raise PlanRefused(
            "there are no user ids to give to plugins: this container maps only its root",
            Layer.UID,
        )
    return user


def _check_reach(user: int, paths: Iterable[str]) -> None:
    """Raises `PlanRefused` where another user may not enter: a view of its own would not care."""
    for path in map(Path, paths):
        for folder in (*reversed(path.parents), path):
            if folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
                raise PlanRefused(
                    f"{folder} is closed to the plugin's user id {user}, and without the layer "
                    f"mounts the worker needs {path} from there",
                    Layer.UID,
                )


def _environment(data: str, access: Access, *, has_view: bool) -> dict[str, str]:
    """An allow-list: nothing of the host's comes along that is not granted by name."""
    given = {name: os.environ[name] for name in access.variables if name in os.environ}
    return (
        given
        | _MALLOC
        | {
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "HOME": data,
            "TMPDIR": TEMPORARY if has_view else data,
            "TZ": os.environ.get("TZ", "UTC"),
        }
    )


def _rlimits(
    limits: Limits, layers: frozenset[Layer], user: int | None, machine: Machine
) -> tuple[tuple[int, int], ...]:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_AS: limits.memory + _ADDRESS_SPACE_SLACK,
        resource.RLIMIT_DATA: limits.memory + _DATA_SLACK,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: 256,
        resource.RLIMIT_NICE: 0,
        resource.RLIMIT_RTPRIO: 0,
    }
    # Counted by user id and user namespace: without one of its own it would count all of ours.
    if user is not None or (Layer.NAMESPACES in layers and not machine.is_root):
        wanted[resource.RLIMIT_NPROC] = limits.processes
    return tuple((kind, _at_most(kind, limit)) for kind, limit in wanted.items())


def _at_most(kind: int, limit: int) -> int:
    """What is left of it under the host's own hard limit, which nobody may raise."""
    hard = resource.getrlimit(kind)[1]
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)
