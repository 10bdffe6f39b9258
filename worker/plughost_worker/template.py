"""The template process: the SDK imported once, and a fork of it for each worker.

It is the parent of all workers and reaps them. It runs no plugin code, holds no descriptor of
a worker once that runs, and has one thread. It sees to it that nothing is left:

- a worker dies with the template (parent-death signal)
- a process that leaves its worker (a daemon) falls to the template (subreaper) and is killed
- when the host is gone, even by SIGKILL, its socket ends: everything is killed
"""

import ctypes
import fcntl
import gc
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, NoReturn

from plughost_protocol import encode
from plughost_protocol.launch import (
    TEMPLATE_MESSAGE_SIZE,
    WORKER_FDS,
    Exited,
    LaunchReply,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    StrayKilled,
    boot_code,
    decode_launch_request,
)

from .runtime import run_worker

__all__ = ["serve"]

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_STRAY_SCAN: Final = 1.0  # seconds; a daemon's parent exits without telling us
_FAILED: Final = 97  # exit status of a child that did not become a worker
_FIRST_WORKER_FD: Final = 3

_prctl: Final = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def prctl(option: int, value: int | bytes) -> None:
    """Call prctl(2) where there is one. Raises `OSError`."""
    if _prctl is not None and _prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def serve(host_fd: int, paths: list[str]) -> NoReturn:
    """Fork workers for the host at the other end of `host_fd`, until it hangs up.

    `paths` is where a fresh interpreter finds our packages.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the host's
    wakeup, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # A plugin may have stopped us; when the host dies, there is work to do.
    prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every page after the fork
    _Template(socket.socket(fileno=host_fd), wakeup, paths).run()


class _Template:
    def __init__(self, host: socket.socket, wakeup: socket.socket, paths: list[str]) -> None:
        self._host = host
        self._wakeup = wakeup
        self._paths = paths
        self._workers: dict[int, int] = {}  # pid to key

    def run(self) -> NoReturn:
        poll = select.poll()
        poll.register(self._host, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        while True:
            ready = dict(poll.poll(int(_STRAY_SCAN * 1000) if self._workers else None))
            if self._wakeup.fileno() in ready:
                self._wakeup.recv(4096)
            self._reap()
            self._kill_strays()
            if self._host.fileno() in ready:
                self._serve_one()

    def _serve_one(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._host, TEMPLATE_MESSAGE_SIZE, WORKER_FDS)
        except OSError:
            data, fds = b"", []
        if not data:
            self._end()
        request = decode_launch_request(data)
        if isinstance(request, Spawn):
            fds += self._spawn(request, fds)
        else:
            self._signal(request)
        for fd in fds:
            os.close(fd)

    def _spawn(self, spawn: Spawn, fds: list[int]) -> list[int]:
        """Fork a worker. Returns a pidfd of it, if the system has them."""
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError as exc:
            self._tell(SpawnFailed(spawn.key, f"fork: {exc.strerror}"))
            return []
        if pid == 0:
            _become_worker(spawn, fds, template, self._paths)
        self._workers[pid] = spawn.key
        pidfds = []
        with suppress(AttributeError, OSError):  # not Linux, or a profile that refuses it
            pidfds.append(os.pidfd_open(pid))
        self._tell(Spawned(spawn.key, pid), pidfds)
        return pidfds

    def _signal(self, request: Signal) -> None:
        for pid, key in self._workers.items():
            if key == request.key:
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
            key = self._workers.pop(pid, None)
            if key is not None:
                self._tell(
                    Exited(
                        key,
                        os.waitstatus_to_exitcode(status),
                        usage.ru_maxrss * 1024,
                        usage.ru_utime + usage.ru_stime,
                    )
                )

    def _kill_strays(self) -> None:
        for pid in _children():
            if pid not in self._workers:
                command = _command(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)  # our child, not reaped yet: the pid is its own
                if command:  # a zombie has none
                    self._tell(StrayKilled(pid, command))

    def _end(self) -> NoReturn:
        """Kill all that is left, and what it leaves to us, then end."""
        while True:
            for pid in _children() or self._workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                os._exit(0)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123
            return [int(pid) for pid in file.read().split()]
    except OSError:  # not Linux, or built without CONFIG_PROC_CHILDREN: the host says so
        return []


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123
            return file.read(200).replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _become_worker(spawn: Spawn, fds: list[int], template: int, paths: list[str]) -> NoReturn:
    """In the fork: take on the worker's descriptors, limits and environment, then be it."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != template:
            os._exit(_FAILED)  # it died before the signal was asked for
        os.setsid()
        rpc_in, rpc_out, stack = _take_descriptors(fds)
        os.environ.clear()
        os.environ.update(spawn.env)
        os.chdir(spawn.cwd)
        os.umask(0o077)
        for kind, limit in spawn.rlimits:
            resource.setrlimit(kind, (limit, limit))
        if spawn.interpreter:
            boot = boot_code(paths, "runtime", "run_worker", rpc_in, rpc_out, stack)
            command = [spawn.interpreter, "-I", "-S", "-c", boot]
            os.execve(spawn.interpreter, command, spawn.env)  # noqa: S606 - no shell wanted
        prctl(_PR_SET_NAME, spawn.name.encode()[:15])
        gc.enable()
        run_worker(rpc_in, rpc_out, stack)
    except BaseException as exc:  # noqa: BLE001 - nothing may return into the template's loop
        os.write(2, f"the worker failed: {type(exc).__name__}: {exc}\n".encode())
    finally:
        os._exit(_FAILED)


def _take_descriptors(fds: list[int]) -> tuple[int, int, int]:
    """Put the five descriptors where they belong and close every other one."""
    # Moved out of the way first: a target may be the source of another.
    rpc_in, rpc_out, stdout, stderr, stack = (_above(fd) for fd in fds)
    null = os.open(os.devnull, os.O_RDONLY)
    targets = (null, stdout, stderr, rpc_in, rpc_out, stack)
    for target, fd in enumerate(targets):
        os.dup2(fd, target)
    os.closerange(len(targets), os.sysconf("SC_OPEN_MAX"))
    return _FIRST_WORKER_FD, _FIRST_WORKER_FD + 1, _FIRST_WORKER_FD + 2


def _above(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD, 16)
