"""Starts commands by forking a process that has `plughost` imported: in a seventh of the time.

A command is a process of its own as before, with its own arguments, environment, folder and
streams, and ends as an interpreter ends. What the console script adds, `Terminal` shows.
"""

import atexit
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from functools import cache
from importlib import import_module
from io import StringIO
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Final, NoReturn

from .refusing_machine import refuse

__all__ = ["Forked", "main"]

_ROOT: Final = Path(__file__).parents[1]
_REQUEST_SIZE: Final = 1 << 20
_DESCRIPTORS: Final = 4  # the command's standard streams, and where its end is told
_START: Final = 30.0  # seconds; a cold interpreter on a loaded machine


_started: Final[list["subprocess.Popen[bytes]"]] = []


class Forked:
    """A command that runs. Its streams are the caller's to close."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path | None,
        env: dict[str, str],
        streams: tuple[int, int, int],
        refused: Mapping[str, int] | None = None,
    ) -> None:
        """`refused` are system calls and the error numbers that it gets for them."""
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "arguments": arguments,
            "cwd": str(cwd or Path.cwd()),
            "env": env,
            "refused": dict(refused or {}),
        }
        with theirs:
            fds = [*streams, theirs.fileno()]
            socket.send_fds(_server(), [json.dumps(request).encode()], fds)
        self.pid = self._hear(_START)
        self._code: int | None = None

    def _hear(self, timeout: float) -> int:
        """The next number. Raises `TimeoutExpired`."""
        ready, _, _ = select.select([self._told], [], [], timeout)
        if not ready:
            raise subprocess.TimeoutExpired("plughost", timeout)
        told = self._told.recv(64)
        assert told, f"the server of commands ended:\n{_said()}"
        return int(told)

    def poll(self) -> int | None:
        """Its exit code, as `Popen` has it; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self._code

    def wait(self, timeout: float) -> int:
        """Its exit code. Raises `TimeoutExpired`."""
        if self._code is None:
            self._code = self._hear(timeout)
            self._told.close()
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> socket.socket:
    """The socket of this process's own server, which ends with it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # The largest environment is one message.
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _REQUEST_SIZE)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server", str(theirs.fileno())],
            cwd=_ROOT,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # As a command's are: what a stream can do is settled at its interpreter's start.
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    process.wait(_START)  # its child serves
    _started.append(process)
    atexit.register(process.communicate, timeout=_START)
    atexit.register(ours.close)  # the last one is called first
    return ours


def _said() -> str:
    (process,) = _started
    return process.communicate(timeout=_START)[0].decode()


def main() -> NoReturn:
    """Serve until the socket ends. What returns from `_serve` is a command."""
    if os.fork():
        os._exit(0)  # nobody's child: tests look for what their own process has started
    from plughost import management
    from plughost.management import cli

    requests = socket.socket(fileno=int(sys.argv[1]))
    for module in iter_modules(management.__path__):  # commands import what they do when they run
        import_module(f"{management.__name__}.{module.name}")
    import_module("anyio._backends._asyncio")
    sys.argv[:] = ["plughost", "schema", "manifest"]
    with redirect_stdout(StringIO()):
        cli.main()  # and what reads the arguments does, too
    gc.collect()
    gc.freeze()  # else each command would copy all pages to look through them when it ends
    _serve(requests)
    sys.exit(cli.main())


def _serve(requests: socket.socket) -> None:
    """Fork a command for each request. Returns in the command."""
    running: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
    while True:
        ready, _, _ = select.select([requests.fileno(), *running], [], [])
        for fd in running.keys() & ready:
            pid, told = running.pop(fd)
            _, status = os.waitpid(pid, 0)
            os.close(fd)
            with told, suppress(OSError):  # nobody waits for it
                told.send(str(os.waitstatus_to_exitcode(status)).encode())
        if requests.fileno() not in ready:
            continue
        data, fds, _, _ = socket.recv_fds(requests, _REQUEST_SIZE, _DESCRIPTORS)
        if not data:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            for inherited in (requests, *(told for _, told in running.values())):
                inherited.detach()  # closed below; its number is soon another's
            _become(json.loads(data), fds[:3])
            return
        *streams, told_fd = fds
        for fd in streams:
            os.close(fd)
        told = socket.socket(fileno=told_fd)
        told.send(str(pid).encode())
        running[os.pidfd_open(pid)] = pid, told


def _become(request: dict[str, Any], streams: Sequence[int]) -> None:
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for folder in reversed(request["env"].get("PYTHONPATH", "").split(os.pathsep)):
        if folder and folder not in sys.path:
            sys.path.insert(0, folder)
    sys.argv[:] = ["plughost", *request["arguments"]]
    if request["refused"]:
        refuse(request["refused"])


if __name__ == "__main__":
    main()
