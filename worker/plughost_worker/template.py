"""The template process: the SDK imported once, and a fork of it for each worker.

It is the parent of its workers and reaps them. It runs no plugin code, holds no descriptor of
a worker once that runs, and has one thread. Where namespaces are allowed it is process 1 of
its own. It sees to it that nothing is left:

- a worker dies with the template (parent-death signal; the end of the namespace)
- a process that leaves its worker (a daemon) falls to the template and is killed
- when the host is gone, even by SIGKILL, the template kills everything, and ends a moment later:
  the processors are for the ends of workers first
"""

import fcntl
import gc
import os
import select
import signal
import socket
import time
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

import msgspec

from plughost_protocol import encode
from plughost_protocol.confinement import TemplateConfinement
from plughost_protocol.launch import (
    TEMPLATE_MESSAGE_SIZE,
    WORKER_FDS,
    Confined,
    Exited,
    LaunchReply,
    Moved,
    Refused,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    StrayKilled,
    decode_launch_request,
)

from .confine import (
    LayerRefused,
    apply,
    confine_template,
    enter_namespaces,
    fork_first_process,
    seal,
)
from .kernel import PR_SET_CHILD_SUBREAPER, PR_SET_NAME, PR_SET_PDEATHSIG, fork, prctl
from .rehearsal import rehearse
from .runtime import prepare_process, run_worker

__all__ = ["serve"]

_STRAY_SCAN: Final = 1.0  # seconds; a daemon's parent exits without telling us
_DEATH_SCAN: Final = 0.05  # seconds, for those of whose death no pidfd tells
# Seconds that the workers of all templates have to end before those do, when the host is killed.
# Twenty take 20 to 30 ms on two processors, and as long again beside their templates.
_HEAD_START: Final = 0.05
_FAILED: Final = 97  # exit status of a child that did not become a worker

# Where a worker has what comes with `Spawn`. In the template these are taken, and the socket to
# the host lies behind them, so that nothing that comes has to be moved out of another's way.
_RPC_FDS: Final = (3, 4)
_STACK_FD: Final = 5
_WORKER_TARGETS: Final = (*_RPC_FDS, 1, 2, _STACK_FD)
_HOST_FD: Final = 6


def serve(host_fd: int, confinement: bytes) -> NoReturn:
    """Fork workers for the host at the other end of `host_fd`, until it hangs up.

    `confinement` is an encoded `TemplateConfinement`.
    """
    wanted = msgspec.msgpack.decode(confinement, type=TemplateConfinement)
    if wanted.rehearse:
        rehearse()
        gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every page after a fork
    host = _lay_out_descriptors(host_fd)
    # Here: each worker would do it on its own copy of the memory.
    prepare_process(_STACK_FD)
    host_pidfd = _pidfd(os.getppid())
    try:
        if wanted.namespaces:
            enter_namespaces(wanted.namespaces)
            _become_first_process(host)
        else:
            prctl(PR_SET_CHILD_SUBREAPER, 1)
        # Whoever may have stopped us: when the host dies, there is work to do.
        prctl(PR_SET_PDEATHSIG, signal.SIGCONT)
        confine_template(wanted)
    except LayerRefused as exc:
        refused = Refused(0, exc.layer, exc.action, exc.errno)
        with suppress(OSError):
            host.send(encode(refused))
        os._exit(_FAILED)
    _Template(host, host_pidfd).run()


def _lay_out_descriptors(host_fd: int) -> socket.socket:
    """The socket to the host, where workers expect it; what they are given finds its place free."""
    aside = fcntl.fcntl(host_fd, fcntl.F_DUPFD_CLOEXEC, _HOST_FD + 1)
    null = os.open(os.devnull, os.O_RDONLY)
    for fd in (0, *_RPC_FDS, _STACK_FD):
        os.dup2(null, fd)
    os.dup2(aside, _HOST_FD)
    os.closerange(_HOST_FD + 1, os.sysconf("SC_OPEN_MAX"))
    return socket.socket(fileno=_HOST_FD)


def _pidfd(pid: int) -> int:
    """-1 where the system has none: not Linux, or a profile that refuses it."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _become_first_process(host: socket.socket) -> None:
    """Go on as process 1 of the new namespaces; the process that was tells of it, and ends."""
    pid = fork_first_process()
    if pid:
        with suppress(OSError):  # it has hung up: what goes on will notice
            host.send(encode(Moved(pid)))
        os._exit(0)


class _Forked(NamedTuple):
    """A worker that is not reaped yet."""

    key: int
    pidfd: int
    """-1 where the system has none."""


class _Template:
    def __init__(self, host: socket.socket, host_pidfd: int) -> None:
        self._host = host
        self._host_pidfd = host_pidfd
        self._poll = select.poll()
        self._workers: dict[int, _Forked] = {}  # by pid
        self._untold: set[int] = set()  # pids of those that have no pidfd
        self._numbers: dict[int, str] = {}  # pid of a child to its number in /proc
        self._dying: set[int] = set()  # strays that were killed and are not gone yet

    def run(self) -> NoReturn:
        self._poll.register(self._host, select.POLLIN)
        if self._host_pidfd >= 0:  # a fork of the host may hold its end of the socket
            self._poll.register(self._host_pidfd, select.POLLIN)
        look_at = 0.0
        while True:
            ready = [fd for fd, _ in self._poll.poll(self._patience())]
            if self._host_pidfd in ready:
                self._end()
            asked = self._host.fileno() in ready
            # Not at every request: each worker has its own copy of what is touched in between.
            if len(ready) > asked or not ready or time.monotonic() >= look_at:
                self._reap()
                self._kill_strays()
                look_at = time.monotonic() + _STRAY_SCAN
            if asked:
                self._serve_one()

    def _patience(self) -> float | None:
        """Milliseconds until we look by ourselves who is dead, or has left a worker."""
        if self._dying or self._untold:
            return _DEATH_SCAN * 1000
        return _STRAY_SCAN * 1000 if self._workers else None

    def _serve_one(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._host, TEMPLATE_MESSAGE_SIZE, WORKER_FDS)
        except OSError:
            data, fds = b"", []
        if not data:
            self._end()
        request = decode_launch_request(data)
        if isinstance(request, Spawn):
            self._spawn(request, fds)
        else:
            self._signal(request)
        for fd in fds:
            os.close(fd)

    def _spawn(self, spawn: Spawn, fds: list[int]) -> None:
        template = os.getpid()
        try:
            pid = fork()
        except OSError as exc:
            self._tell(SpawnFailed(spawn.key, f"fork: {exc.strerror}"))
            return
        if pid == 0:
            _become_worker(spawn, fds, template, self._host)
        pidfd = _pidfd(pid)
        self._workers[pid] = _Forked(spawn.key, pidfd)
        if pidfd >= 0:
            self._poll.register(pidfd, select.POLLIN)
            self._tell(Spawned(spawn.key, pid), [pidfd])
        else:  # the host has but the number, and needs that of its own namespace
            self._untold.add(pid)
            self._tell(Spawned(spawn.key, _number_outside(pid)))

    def _signal(self, request: Signal) -> None:
        for pid, worker in self._workers.items():
            if worker.key == request.key:
                os.kill(pid, request.number)  # not reaped yet: the pid is its own

    def _tell(self, message: LaunchReply, fds: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._host, [encode(message)], fds or [])
        except OSError:
            self._end()

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._numbers.pop(pid, None)
            worker = self._workers.pop(pid, None)
            self._untold.discard(pid)
            if worker is not None:
                if worker.pidfd >= 0:
                    self._poll.unregister(worker.pidfd)
                    os.close(worker.pidfd)
                self._tell(
                    Exited(
                        worker.key,
                        os.waitstatus_to_exitcode(status),
                        usage.ru_maxrss * 1024,
                        usage.ru_utime + usage.ru_stime,
                    )
                )

    def _kill_strays(self) -> None:
        self._numbers = _children(self._numbers)
        strays = self._numbers.keys() - self._workers.keys()
        for pid in strays:
            number = self._numbers[pid]
            command = "" if pid in self._dying else _command(number)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # our child, not reaped yet: the pid is its own
            if command:  # a zombie has none
                self._tell(StrayKilled(int(number), command))
        self._dying = strays

    def _end(self) -> NoReturn:
        """Kill all that is left, and what it leaves to us, then end."""
        is_first = os.getpid() == 1
        if is_first:
            with suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # all in the namespace but us
        with suppress(ChildProcessError):
            while True:
                if not is_first:
                    self._kill_children()
                self._numbers.pop(os.waitpid(-1, 0)[0], None)
        if self._host_is_dead():
            time.sleep(_HEAD_START)
        os._exit(0)

    def _kill_children(self) -> None:
        self._numbers = _children(self._numbers)
        for pid in self._numbers or self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _host_is_dead(self) -> bool:
        return self._host_pidfd >= 0 and bool(select.select([self._host_pidfd], [], [], 0)[0])


def _children(known: dict[int, str]) -> dict[int, str]:
    """Our children: their pids in our own namespace, and their numbers in /proc's.

    `known` are those that were found before and not reaped since: their numbers are still theirs.
    """
    pids = {number: pid for pid, number in known.items()}
    try:
        own = os.readlink("/proc/self")
        with open(f"/proc/self/task/{own}/children", encoding="ascii") as file:
            return {
                pids.get(number) or _own_number(number): number for number in file.read().split()
            }
    except OSError:  # not Linux, or built without CONFIG_PROC_CHILDREN: the host says so
        return {}


def _number_outside(pid: int) -> int:
    return int(_children({}).get(pid, pid))


def _own_number(number: str) -> int:
    # One that is dead is still there: nobody but us reaps it.
    with open(f"/proc/{number}/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return int(number)


def _command(number: str) -> str:
    try:
        with open(f"/proc/{number}/cmdline", "rb") as file:
            return file.read(200).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _become_worker(spawn: Spawn, fds: list[int], template: int, host: socket.socket) -> NoReturn:
    """In the fork: take on the worker's descriptors, limits and environment, then be it."""
    try:
        _die_with(template)
        os.setsid()
        for target, fd in zip(_WORKER_TARGETS, fds, strict=True):
            os.dup2(fd, target)
        os.closerange(_HOST_FD + 1, os.sysconf("SC_OPEN_MAX"))
        for name, value in spawn.env.items():
            os.environ[name] = value
        os.umask(0o077)
        prctl(PR_SET_NAME, spawn.name.encode()[:15])
        _confine(spawn, template, host)
        gc.enable()
        run_worker(*_RPC_FDS)
    except BaseException as exc:  # noqa: BLE001 - nothing may return into the template's loop
        os.write(2, f"the worker failed: {type(exc).__name__}: {exc}\n".encode())
    finally:
        os._exit(_FAILED)


def _die_with(template: int) -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != template:
        os._exit(_FAILED)  # it died before the signal was asked for


def _confine(spawn: Spawn, template: int, host: socket.socket) -> None:
    """Apply the layers, and tell the host; the socket to it is closed."""
    try:
        listeners = apply(spawn.confinement)
        _die_with(template)  # a change of the user id has cleared it
        os.chdir(spawn.cwd)
        seal(spawn.confinement)
    except LayerRefused as exc:
        host.send(encode(Refused(spawn.key, exc.layer, exc.action, exc.errno)))
        os._exit(_FAILED)
    socket.send_fds(host, [encode(Confined(spawn.key))], [sock.fileno() for sock in listeners])
    for sock in (host, *listeners):
        sock.close()
