"""The host's end of a template process: ask for workers, hear of their deaths."""

import logging
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

import anyio

from plughost.errors import PlughostError
from plughost.reactor import Reactor, Waiter
from plughost.sandbox.interpreter import Interpreter
from plughost.sandbox.plan import how_to_waive
from plughost_protocol import encode
from plughost_protocol.confinement import TemplateConfinement
from plughost_protocol.launch import (
    MAX_LISTENERS,
    TEMPLATE_MESSAGE_SIZE,
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
    decode_launch_reply,
)

from .child import Child

__all__ = ["Launch", "LayerRefused", "SpawnRefused", "Template", "TemplateLost"]

_log = logging.getLogger("plughost.template")

_Process: TypeAlias = "subprocess.Popen[bytes] | Child"

_PATIENCE: Final = 1.0  # seconds that it has to kill its workers and end
_REAP_INTERVAL: Final = 0.002

# What it has, a worker shows in its /proc entry, and its allocator obeys.
_VARIABLES: Final = {"MALLOC_ARENA_MAX": "2"}


class SpawnRefused(PlughostError):
    """Raised when the machine refuses another process."""


class LayerRefused(PlughostError):
    """Raised when the machine refuses a layer of the sandbox."""

    def __init__(self, layer: str, action: str, errno: int) -> None:
        remedies = [words for words in (how_to_waive(layer), "plughost doctor shows why") if words]
        super().__init__(
            f"the machine refuses the layer {layer} of the sandbox ({action}: "
            f"{os.strerror(errno)}); {'; '.join(remedies)}"
        )
        self.layer = layer
        self.errno = errno


class TemplateLost(PlughostError):
    """Raised when the template process died before it had started the worker."""

    def __init__(self) -> None:
        super().__init__("the template process died; it is replaced at the next start")


class Launch(Protocol):
    """Who hears of a worker's start and end."""

    sockets: list[socket.socket]
    """The sockets that the worker's process made for the host, once it is confined."""
    refusal: PlughostError | None
    """Why it could not be confined."""

    def spawned(self, pid: int, pidfd: int) -> None:
        """The worker runs. `pidfd` is -1 where the system has none; the receiver closes it."""

    def exited(self, code: int | None, max_rss: int, cpu: float) -> None:
        """The worker is dead and reaped. `code` is None if it died with the template."""


class Template:
    """A process with the SDK imported, from which workers are forked.

    Started at the first `spawn`, and again after its death. A worker dies with it.
    """

    def __init__(
        self,
        reactor: Reactor,
        python: Interpreter,
        confinement: TemplateConfinement,
    ) -> None:
        self._reactor = reactor
        self._python = python
        self._confinement = confinement
        self._on_start: Callable[[int], None] = lambda _: None
        self._process: _Process | None = None
        self._moved_from: _Process | None = None
        self._socket: socket.socket | None = None
        self._launches: dict[int, Launch] = {}
        self._starting: dict[int, Waiter[None]] = {}
        self._half_started: set[int] = set()
        self._waiting_for_room: list[Waiter[None]] = []
        self._refused: PlughostError | None = None
        self._last_key = 0

    @property
    def pid(self) -> int | None:
        """The process id of the template, while it lives."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the process, unless it lives. Does not wait for it."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._refused = None
        with theirs:
            self._process = self._python.start(
                "template",
                "serve",
                theirs.fileno(),
                encode(self._confinement),
                variables=_VARIABLES,
                collects=self._confinement.rehearse,
            )
        self._socket = ours
        self._reactor.add_reader(ours.fileno(), self._on_readable)
        self._on_start(self._process.pid)

    def when_started(self, act: Callable[[int], None]) -> None:
        """Have `act` called with the process id now if it runs, and whenever it gets another."""
        self._on_start = act
        if self._process is not None:
            act(self._process.pid)

    def wake(self) -> None:
        """Let it run on, if a plugin has stopped it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    async def spawn(self, spawn: Spawn, fds: list[int], launch: Launch) -> None:
        """Start a worker with its ends of the pipes, confined; `launch` hears of it.

        Raises `SpawnRefused`, `LayerRefused`, `TemplateLost`.
        """
        self.start()
        self.wake()
        key = spawn.key
        started = self._starting[key] = self._reactor.waiter()
        self._launches[key] = launch
        try:
            await self._send(encode(spawn), fds)
        except BaseException as exc:
            self._starting.pop(key, None)
            self._launches.pop(key, None)
            if not isinstance(exc, OSError):
                raise
            self._hear_all()  # its last words
            self._died()
            raise self._refused or TemplateLost() from exc
        await started

    async def _send(self, data: bytes, fds: list[int]) -> None:
        """Send a request, as soon as the socket takes it. Raises `OSError`."""
        while self._socket is not None:
            try:
                socket.send_fds(self._socket, [data], fds)
            except BlockingIOError:  # it holds some fifty requests
                room = self._reactor.waiter()
                self._waiting_for_room.append(room)
                self._reactor.add_writer(self._socket.fileno(), self._on_room)
                await room
            else:
                return
        raise BrokenPipeError

    def _on_room(self) -> None:
        if self._socket is not None:
            self._reactor.remove_writer(self._socket.fileno())
        waiting, self._waiting_for_room = self._waiting_for_room, []
        for room in waiting:
            if not room.done():
                room.set_result(None)

    def signal(self, key: int, number: int) -> None:
        """Have the template send a worker a signal, where there is no pidfd."""
        if self._socket is not None:
            with suppress(OSError):  # it is gone, and its workers with it
                self._socket.send(encode(Signal(key, number)))

    def new_key(self) -> int:
        """A key for the next `Spawn`."""
        self._last_key += 1
        return self._last_key

    async def aclose(self) -> None:
        """Hang up: the template kills every worker that is left, and ends. Returns when it has."""
        started = self._process
        if started is None:
            return
        if self._confinement.namespaces and not isinstance(started, Child):
            # It has no worker yet, and must not move when nobody hears of it any more.
            started.kill()
            await _ended(started)
            self._hear_all()
        processes = [self._process or started]
        if self._moved_from is not None:
            processes.append(self._moved_from)
        self._lost()
        for process in processes:
            await _ended(process)

    def _on_readable(self) -> None:
        with suppress(BlockingIOError):
            if self._socket is not None and not self._hear(self._socket):
                self._died()

    def _hear_all(self) -> None:
        """Take in what it has said."""
        with suppress(BlockingIOError):
            while self._socket is not None and self._hear(self._socket):
                pass

    def _hear(self, sock: socket.socket) -> bool:
        """Take in one reply; False at the end. Raises `BlockingIOError` where there is none yet."""
        data, fds = _receive(sock)
        if data:
            self._on_reply(decode_launch_reply(data), fds)
        return bool(data)

    def _died(self) -> None:
        if self._refused is None:
            _log.error("a template process died; its workers died with it")
        self._lost()

    def _on_reply(self, reply: LaunchReply, fds: list[int]) -> None:
        match reply:
            case Spawned(key, pid):
                pidfd = fds[0] if fds else -1
                self._launches[key].spawned(_pid_here(pidfd) or pid, pidfd)
                self._half_way(key)
            case Moved(pid):
                self._on_moved(pid)
            case Confined(key):
                self._launches[key].sockets = [socket.socket(fileno=fd) for fd in fds]
                self._half_way(key)
            case Refused(key, layer, action, errno):
                self._on_refused(key, LayerRefused(layer, action, errno))
            case SpawnFailed(key, reason):
                del self._launches[key]
                self._settle(key, SpawnRefused(f"the system refuses another process: {reason}"))
            case Exited(key, status, max_rss, cpu):
                launch = self._launches.pop(key)
                self._half_started.discard(key)
                self._settle(key, launch.refusal or TemplateLost())  # if it was not confined
                launch.exited(status, max_rss, cpu)
            case StrayKilled(pid, command):
                _log.warning("process %d had left its worker and was killed: %s", pid, command)

    def _on_moved(self, pid: int) -> None:
        self._moved_from, self._process = self._process, Child(pid)
        if self._moved_from is not None:
            self._reap(self._moved_from, self._reactor.now() + _PATIENCE)
        self._on_start(pid)

    def _half_way(self, key: int) -> None:
        """A worker is spawned, or confined. It says so itself, and may overtake its parent."""
        if key not in self._half_started:
            self._half_started.add(key)
        else:
            self._half_started.discard(key)
            self._settle(key, None)

    def _on_refused(self, key: int, error: PlughostError) -> None:
        if key:  # a worker, which ends now: of that we hear from its parent
            self._launches[key].refusal = error
            return
        self._refused = error
        for refused in list(self._starting):
            self._launches[refused].refusal = error
            self._settle(refused, error)

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
        self._on_room()
        self._socket.close()
        self._socket = None
        process.send_signal(signal.SIGCONT)
        self._reap(process, self._reactor.now() + _PATIENCE)
        for key in list(self._starting):
            self._settle(key, self._refused or TemplateLost())
        self._half_started.clear()
        launches, self._launches = self._launches, {}
        for launch in launches.values():
            launch.exited(None, 0, 0.0)

    def _reap(self, process: _Process, deadline: float) -> None:
        """It ends by itself, having killed its workers; one that is stuck is killed."""
        if process.poll() is not None:
            return
        now = self._reactor.now()
        if now > deadline:
            process.kill()
        self._reactor.call_at(now + _REAP_INTERVAL, lambda: self._reap(process, deadline))


async def _ended(process: _Process) -> None:
    while process.poll() is None:  # noqa: ASYNC110 - nobody tells
        await anyio.sleep(_REAP_INTERVAL)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """A reply and its descriptors; nothing at the end. Raises `BlockingIOError`."""
    for _ in range(2):
        try:
            data, fds, _, _ = socket.recv_fds(
                sock, TEMPLATE_MESSAGE_SIZE, MAX_LISTENERS, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            raise
        except ConnectionResetError:  # it ended with a request unread: its last words come behind
            continue
        except OSError:
            break
        return data, fds
    return b"", []


def _pid_here(pidfd: int) -> int | None:
    """The process's number in our own namespace, which need not be the template's.

    -1 for one that is dead and reaped.
    """
    try:
        with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as info:  # noqa: PTH123
            for line in info:
                if line.startswith("Pid:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return None
