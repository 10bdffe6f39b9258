"""Tries each layer of the sandbox in a process of its own, with the functions of a real start.

A layer holds where it refuses what it is there to refuse; where it can be shown, that had worked
just before. Nothing is left behind: every process dies with its probe.
"""

import ctypes
import mmap
import os
import platform
import resource
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from plughost_protocol import encode
from plughost_protocol.confinement import NEW_MOUNTS, Confinement, Listener, TemplateConfinement
from plughost_protocol.probing import Finding, ProbeRequest

from .confine import (
    LayerRefused,
    apply,
    confine_template,
    enter_namespaces,
    fork_first_process,
    seal,
)
from .kernel import PR_SET_PDEATHSIG, prctl

__all__ = ["probe"]

_PATIENCE: Final = 10.0  # seconds for one probe; a loaded machine makes namespaces in 0.1
_PR_SET_DUMPABLE, _PR_GET_NO_NEW_PRIVS = 4, 39
_X32_GETPID: Final = 0x40000000 | 39
# mov eax, 20 (getpid of i386); int 0x80; ret
_I386_GETPID: Final = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
_UNROUTED: Final = ("192.0.2.1", 9)  # TEST-NET-1, RFC 5737

_Notes = tuple[str, ...]


class _Skipped(Exception):
    """Raised when there is nothing to try."""


class _NotHeld(Exception):
    """Raised when every call succeeded, and what the layer should refuse still works."""


def probe(result_fd: int, request: bytes) -> NoReturn:
    """Try everything, write the findings to `result_fd`, and end.

    `request` is an encoded `ProbeRequest`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's, whose end ends us
    asked = msgspec.msgpack.decode(request, type=ProbeRequest)
    findings = [_in_child(name, trial, asked) for name, trial in _PROBES.items()]
    with open(result_fd, "wb") as result:
        result.write(encode(findings))
    os._exit(0)


def _in_child(
    name: str,
    trial: Callable[[ProbeRequest], _Notes],
    asked: ProbeRequest,
    fork: Callable[[], int] = os.fork,
) -> Finding:
    """What a trial finds in a fork of this process, which is then gone, its children too."""
    reading, writing = os.pipe()
    parent = os.getpid()
    child = fork()
    if child == 0:
        try:
            os.setsid()
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() in (parent, 0):  # 0: it lies outside of our process id namespace
                os.write(writing, encode(_finding(name, trial, asked)))
        finally:
            os._exit(0)
    os.close(writing)
    try:
        return _hear(name, reading, child)
    finally:
        os.close(reading)


def _hear(name: str, reading: int, child: int) -> Finding:
    ready = bool(select.select([reading], [], [], _PATIENCE)[0])
    data = os.read(reading, 65_536) if ready else b""
    if not ready:
        os.kill(child, signal.SIGKILL)
    status = 0
    with suppress(ChildProcessError):  # a child of our parent
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(ProcessLookupError, PermissionError):  # its group; an id of its own
        os.killpg(child, signal.SIGKILL)
    if data:
        return msgspec.msgpack.decode(data, type=Finding)
    how = f"was killed by signal {-status}" if status < 0 else f"ended with code {status}"
    return Finding(name, ok=False, action=f"the probe {how}" if ready else "the probe hung")


def _finding(name: str, trial: Callable[[ProbeRequest], _Notes], asked: ProbeRequest) -> Finding:
    try:
        return Finding(name, ok=True, notes=trial(asked))
    except LayerRefused as exc:
        return Finding(name, ok=False, action=exc.action, errno=exc.errno, layer=exc.layer)
    except _NotHeld as exc:
        return Finding(name, ok=False, action=str(exc))
    except _Skipped as exc:
        return Finding(name, ok=True, skipped=str(exc))
    except OSError as exc:
        return Finding(name, ok=False, action=name, errno=exc.errno or 0)


@contextmanager
def _refused(what: str) -> Iterator[None]:
    """Raises `_NotHeld` unless the block raises `OSError`."""
    try:
        yield
    except OSError:
        return
    raise _NotHeld(f"{what} still works")


def _nested(
    trial: Callable[[ProbeRequest], _Notes],
    asked: ProbeRequest,
    fork: Callable[[], int] = os.fork,
) -> _Notes:
    """A trial in a further child; what it raises there is raised here."""
    found = _in_child("", trial, asked, fork)
    if found.ok:
        return found.notes
    if found.layer:
        raise LayerRefused(found.layer, found.action, found.errno)
    raise _NotHeld(found.action)


# The layers


def _namespaces(asked: ProbeRequest) -> _Notes:
    if not asked.template.namespaces:
        raise _Skipped("not asked for")
    enter_namespaces(asked.template.namespaces)
    return _nested(_as_first_process, asked, fork_first_process)


def _as_first_process(asked: ProbeRequest) -> _Notes:
    if os.getpid() != 1:
        raise _NotHeld("a process id namespace of its own shows other processes")
    confine_template(TemplateConfinement(namespaces=asked.template.namespaces))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outwards:
        # Before the loopback is up. That takes a capability in the namespace, which AppArmor
        # may withhold where it lets anybody make one.
        with _refused("sending to another machine"):
            outwards.connect(_UNROUTED)
        listener = Listener("tcp", "127.0.0.1", 80)
        flags = asked.worker.namespaces & ~NEW_MOUNTS
        for made in apply(Confinement([], namespaces=flags, listeners=[listener])):
            made.close()
    return ("process ids", "network", "IPC", "host name")


def _mounts(asked: ProbeRequest) -> _Notes:
    view = asked.worker.view
    if view is None:
        raise _Skipped("not asked for")
    apply(Confinement([], namespaces=asked.worker.namespaces, view=view))
    wanted = [*view.links, *view.files, *(bind.path for bind in view.binds), "/tmp"]  # noqa: S108
    if strange := set(os.listdir("/")) - {path.split("/")[1] for path in wanted}:
        raise _NotHeld(f"/ shows {', '.join(sorted(strange))}")
    with _refused("making a folder in /"):
        os.mkdir("/plughost-probe")
    Path("/tmp/plughost-probe").write_bytes(b"goes with the namespace")  # noqa: S108
    return ()


def _landlock(asked: ProbeRequest) -> _Notes:
    rules = asked.worker.landlock
    if rules is None:
        raise _Skipped("not asked for")
    parent = os.getppid()
    with (
        socket.socket(socket.AF_INET) as tcp,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        port = _loopback_port(tcp)
        abstract.bind("")  # the kernel picks an abstract name
        abstract.listen()
        apply(Confinement([], landlock=rules))
        notes = ["files"]
        with _refused("listing /"):
            os.listdir("/")
        if rules.handled_net and port:
            with _refused("connecting by TCP"):
                _connect(socket.AF_INET, ("127.0.0.1", port))
            notes.append("TCP")
        if rules.scoped & 1:
            with _refused("connecting to an abstract socket"):
                _connect(socket.AF_UNIX, abstract.getsockname())
            notes.append("abstract sockets")
        if rules.scoped & 2:
            with _refused("sending a signal to a process outside"):
                os.kill(parent, 0)
            notes.append("signals")
    return tuple(notes)


def _loopback_port(listener: socket.socket) -> int:
    """A port of this machine to which one can connect; 0 where it has no loopback."""
    try:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        _connect(socket.AF_INET, listener.getsockname())
    except OSError:
        return 0
    port: int = listener.getsockname()[1]
    return port


def _connect(family: int, address: object) -> None:
    with socket.socket(family) as client:
        client.connect(address)  # type: ignore[arg-type] # as getsockname gives it


def _seccomp(asked: ProbeRequest) -> _Notes:
    if not asked.worker.filter:
        raise _Skipped("not asked for")
    _nested(_sealed, asked)
    notes = []
    if platform.machine() == "x86_64":
        _check_killed(_x32_call(), "a call of the x32 interface", asked)
        notes.append("kills calls of x32")
        with suppress(OSError):  # memory that is both written and executed is refused here
            call = _i386_call()
            if _is_served(call):
                _check_killed(call, "a 32-bit call", asked)
                notes.append("kills 32-bit calls")
    return tuple(notes)


def _sealed(asked: ProbeRequest) -> _Notes:
    os.close(os.memfd_create("probe"))  # works without the filter
    apply(Confinement([]))
    seal(asked.worker)
    with _refused("making a file in memory"):
        os.memfd_create("probe")
    return ()


def _check_killed(call: Callable[[], int], what: str, asked: ProbeRequest) -> None:
    child = os.fork()
    if child == 0:
        try:
            prctl(_PR_SET_DUMPABLE, 0)  # leaves no core
            apply(Confinement([]))
            seal(asked.worker)
            call()
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS):
        raise _NotHeld(f"{what} does not kill")


def _is_served(call: Callable[[], int]) -> bool:
    """Whether a call that tells the process id does so here, without a filter."""
    child = os.fork()
    if child == 0:
        prctl(_PR_SET_DUMPABLE, 0)  # a kernel without the interface kills
        os._exit(0 if call() == os.getpid() else 1)
    return os.waitpid(child, 0)[1] == 0


def _x32_call() -> Callable[[], int]:
    number = ctypes.c_long(_X32_GETPID)
    syscall = ctypes.CDLL(None).syscall
    return lambda: int(syscall(number))


def _i386_call() -> Callable[[], int]:
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(_I386_GETPID)
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    return lambda: int(function()) if code else 0  # the code lives as long as the call


def _no_new_privs(_: ProbeRequest) -> _Notes:
    apply(Confinement([]))
    if prctl(_PR_GET_NO_NEW_PRIVS, 0) != 1:
        raise _NotHeld("no_new_privs is not set")
    return ()


def _capabilities(_: ProbeRequest) -> _Notes:
    apply(Confinement([]))
    # The bounding set of an ordinary user means nothing beside no_new_privs.
    sets = {"CapPrm", "CapEff", "CapAmb", *(["CapBnd"] if os.geteuid() == 0 else [])}
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        name, mask = line.split(":", 1)
        if name in sets and int(mask, 16):
            raise _NotHeld(f"{name} is not empty")
    return ()


def _rlimits(asked: ProbeRequest) -> _Notes:
    apply(Confinement(asked.worker.rlimits))
    for kind, limit in asked.worker.rlimits:
        if resource.getrlimit(kind) != (limit, limit):
            raise _NotHeld(f"limit {kind} is not {limit}")
    return ()


def _uid(asked: ProbeRequest) -> _Notes:
    if asked.worker.ids is None:
        raise _Skipped("not asked for")
    apply(Confinement([], ids=asked.worker.ids))
    if {*os.getresuid()} != {asked.worker.ids[0]} or os.getgroups():
        raise _NotHeld("the process still has another id")
    with _refused("becoming root again"):
        os.setresuid(0, 0, 0)
    return ()


def _pidfd(_: ProbeRequest) -> _Notes:
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    try:
        signal.pidfd_send_signal(os.pidfd_open(child), signal.SIGKILL)
    except (AttributeError, OSError):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
        raise _NotHeld("a signal by pidfd does not kill")
    return ()


def _death_signal(_: ProbeRequest) -> _Notes:
    """A grandchild holds a pipe; once its parent is killed, the pipe must end."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.write(writing, b"!")
            signal.pause()
        os.close(writing)
        signal.pause()
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    if not select.select([reading], [], [], _PATIENCE / 2)[0]:
        raise _NotHeld("a process outlives its parent")  # our own end ends it: we are its session
    return ()


def _together(asked: ProbeRequest) -> _Notes:
    """As the template and a worker do it, one inside the other."""
    if not asked.template.namespaces:
        return _nested(_together_in_template, asked)
    enter_namespaces(asked.template.namespaces)
    return _nested(_together_in_template, asked, fork_first_process)


def _together_in_template(asked: ProbeRequest) -> _Notes:
    confine_template(asked.template)
    return _nested(_together_in_worker, asked)


def _together_in_worker(asked: ProbeRequest) -> _Notes:
    for made in apply(asked.worker):
        made.close()
    seal(asked.worker)
    try:
        os.listdir(asked.working_folder)
        Path(os.__file__).read_bytes()
    except OSError as exc:
        who = f"as user {os.getuid()}, whom a folder above keeps out"
        raise LayerRefused("uid", f"read {exc.filename} {who}", exc.errno or 0) from exc
    return ()


_PROBES: Final[dict[str, Callable[[ProbeRequest], _Notes]]] = {
    "uid": _uid,
    "namespaces": _namespaces,
    "mounts": _mounts,
    "landlock": _landlock,
    "seccomp": _seccomp,
    "no_new_privs": _no_new_privs,
    "capabilities": _capabilities,
    "rlimits": _rlimits,
    "pidfd": _pidfd,
    "death signal": _death_signal,
    "together": _together,
}
