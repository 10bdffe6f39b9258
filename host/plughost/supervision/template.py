"""The host's end of the template process: ask for workers, hear of their deaths."""

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from plughost.errors import PlughostError
from plughost.reactor import Reactor, Waiter
from plughost_protocol import encode
from plughost_protocol.launch import (
    TEMPLATE_MESSAGE_SIZE,
    Exited,
    Signal,
    Spawn,
    Spawned,
    SpawnFailed,
    StrayKilled,
    boot_code,
    decode_launch_reply,
)

__all__ = ["Launch", "SpawnRefused", "Template", "TemplateLost"]

_log = logging.getLogger("plughost.template")


class SpawnRefused(PlughostError):
    """Raised when the machine refuses another process."""


class TemplateLost(PlughostError):
    """Raised when the template process died before it had started the worker."""

    def __init__(self) -> None:
        super().__init__("the template process died; it is replaced at the next start")


class Launch(Protocol):
    """Who hears of a worker's start and end."""

    def spawned(self, pid: int, pidfd: int) -> None:
        """The worker runs. `pidfd` is -1 where the system has none; the receiver closes it."""

    def exited(self, code: int | None, max_rss: int, cpu: float) -> None:
        """The worker is dead and reaped. `code` is None if it died with the template."""


class Template:
    """A process with the SDK imported, from which workers are forked.

    Started at the first `spawn`, and again after its death. A worker dies with it.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._launches: dict[int, Launch] = {}
        self._starting: dict[int, Waiter[None]] = {}
        self._last_key = 0
        self.strays_killed = 0
        """Processes that had left their worker and were killed."""

    @property
    def pid(self) -> int | None:
        """The template's process id, while it lives."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, unless it lives. Does not wait for it."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            boot = boot_code(_import_paths(), "template", "serve", theirs.fileno(), "paths")
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [sys.executable, "-I", "-S", "-c", boot],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8"},  # what it has, a forked worker shows in its /proc entry
                cwd="/",
                start_new_session=True,
            )
        self._socket = ours
        self._reactor.add_reader(ours.fileno(), self._on_readable)

    def wake(self) -> None:
        """Let it run on, if a plugin has stopped it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def spawn(self, spawn: Spawn, fds: list[int], launch: Launch) -> None:
        """Start a worker with its ends of the pipes; `launch` hears of it.

        Raises `SpawnRefused`, `TemplateLost`.
        """
        self.start()
        self.wake()
        assert self._socket is not None  # noqa: S101 - for the type checker
        key = spawn.key
        started = self._starting[key] = self._reactor.waiter()
        self._launches[key] = launch
        try:
            # The socket holds some hundred messages, and at most a few starts are under way.
            socket.send_fds(self._socket, [encode(spawn)], fds)
        except OSError as exc:
            del self._starting[key], self._launches[key]
            self._lost()
            raise TemplateLost from exc
        await started

    def signal(self, key: int, number: int) -> None:
        """Have the template send a worker a signal, where there is no pidfd."""
        if self._socket is not None:
            with suppress(OSError):  # it is gone, and its workers with it
                self._socket.send(encode(Signal(key, number)))

    def new_key(self) -> int:
        """A key for the next `Spawn`."""
        self._last_key += 1
        return self._last_key

    def close(self) -> None:
        """Hang up: the template kills every worker that is left, and ends."""
        self._lost()

    def _on_readable(self) -> None:
        assert self._socket is not None  # noqa: S101 - the reader goes with the socket
        try:
            data, fds, _, _ = socket.recv_fds(
                self._socket, TEMPLATE_MESSAGE_SIZE, 1, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            _log.error("the template process died; its workers died with it")
            self._lost()
            return
        match decode_launch_reply(data):
            case Spawned(key, pid):
                self._launches[key].spawned(pid, fds[0] if fds else -1)
                self._settle(key, None)
            case SpawnFailed(key, reason):
                del self._launches[key]
                self._settle(key, SpawnRefused(f"the system refuses another process: {reason}"))
            case Exited(key, status, max_rss, cpu):
                self._launches.pop(key).exited(status, max_rss, cpu)
            case StrayKilled(pid, command):
                self.strays_killed += 1
                _log.warning("process %d had left its worker and was killed: %s", pid, command)

    def _settle(self, key: int, error: PlughostError | None) -> None:
        started = self._starting.pop(key, None)
        if started is None or started.done():  # the one who asked was cancelled
            return
        if error is None:
            started.set_result(None)
        else:
            started.set_exception(error)

    def _lost(self) -> None:
        process, self._process = self._process, None
        if process is None or self._socket is None:
            return
        self._reactor.remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        process.send_signal(signal.SIGCONT)
        # It ends by itself, having killed its workers; one that was stopped or is stuck does not.
        try:
            process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        for key in list(self._starting):
            self._settle(key, TemplateLost())
        launches, self._launches = self._launches, {}
        for launch in launches.values():
            launch.exited(None, 0, 0.0)


def _import_paths() -> list[str]:
    """Where the worker's packages and msgspec lie: it starts without site-packages of its own."""
    paths: list[str] = []
    for package in ("plughost_worker", "plughost_sdk", "plughost_protocol", "msgspec"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise PlughostError(f"the package {package} is not installed: install plughost anew")
        paths.append(str(Path(spec.origin).parent.parent))
    return list(dict.fromkeys(paths))
