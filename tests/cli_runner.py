"""Runs the real command in processes of its own, for the tests of the command.

A terminal gets the console script, all else a fork of a process that has imported it.

Its user's own plughost.toml grants whatever is asked for, where `env` names no other.
"""

import atexit
import fcntl
import json
import os
import queue
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from .command_server import Forked

__all__ = [
    "COMMAND",
    "Finished",
    "Process",
    "Terminal",
    "plughost",
    "running_host",
    "terminal",
    "under_a_terminal",
    "write_plugin",
]

COMMAND: Final = str(Path(sys.executable).parent / "plughost")
_TIMEOUT: Final = 30.0  # seconds; the slowest command takes two on an idle machine


def write_plugin(folder: Path, plugin_id: str, code: str, **manifest: Any) -> Path:
    """Write a plugin into a folder of that name in `folder`, and give its own."""
    root = folder / plugin_id
    root.mkdir()
    fields = {
        "id": plugin_id,
        "name": plugin_id,
        "version": "1.0.0",
        "permissions": ["tools:register"],
    }
    (root / "manifest.json").write_text(json.dumps(fields | manifest))
    (root / "plugin.py").write_text(code)
    return root


class Finished(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error that `--json` wrote."""
        found: dict[str, Any] = json.loads(self.err)["error"]
        return found


def _environment(env: dict[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PLUGHOST_SOCKET"}
    own = {"NO_COLOR": "1", "XDG_CONFIG_HOME": str(_trusting_config())}
    return kept | own | (env or {})


@cache
def _trusting_config() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="plughost-tests-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "plughost").mkdir()
    file = folder / "plughost" / "plughost.toml"
    file.write_text('[grants]\n"*" = ["*"]\n')
    file.chmod(0o600)
    return folder


def plughost(
    *arguments: object,
    socket: Path | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    env: dict[str, str] | None = None,
    refused: Mapping[str, int] | None = None,
) -> Finished:
    """Run a command to its end, on a machine that refuses these system calls."""
    settings = _environment(env) | ({"PLUGHOST_SOCKET": str(socket)} if socket else {})
    read, write = os.pipe()
    feed = threading.Thread(target=_feed, args=(write, stdin or b""))
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        streams = read, out.fileno(), err.fileno()
        try:
            words = [*map(str, arguments)]
            process = Forked(words, cwd=cwd, env=settings, streams=streams, refused=refused)
        finally:
            os.close(read)
            feed.start()
        try:
            code = process.wait(_TIMEOUT)
        finally:
            process.kill()
            feed.join(_TIMEOUT)
        for file in (out, err):
            file.seek(0)
        return Finished(code, out.read().decode(), err.read().decode())


def _feed(fd: int, data: bytes) -> None:
    with suppress(BrokenPipeError), os.fdopen(fd, "wb") as pipe:
        pipe.write(data)


class Process:
    """A command that runs still, and whose lines can be waited for."""

    def __init__(
        self,
        *arguments: object,
        socket: Path | None = None,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        settings = _environment(env) | ({"PLUGHOST_SOCKET": str(socket)} if socket else {})
        read, write = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            self._process = Forked(
                [*map(str, arguments)], cwd=cwd, env=settings, streams=(nothing, write, write)
            )
        except BaseException:
            os.close(read)
            raise
        finally:
            os.close(write)
            os.close(nothing)
        self.pid = self._process.pid
        self.output = ""
        """What has been waited for so far, and before it."""
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reads = threading.Event()
        self._reads.set()
        self._hung_up = False
        self._reader = threading.Thread(target=self._read, args=(os.fdopen(read, "rb"),))
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._lines.put(line.decode())
                self._reads.wait(_TIMEOUT)
                if self._hung_up:
                    break
        self._lines.put(None)

    def stop_reading(self) -> None:
        """Leave in the pipe what it writes, but for the line that comes next."""
        self._reads.clear()

    def go_on_reading(self) -> None:
        self._reads.set()

    def hang_up(self) -> None:
        """Close the pipe once the next line has come."""
        self._hung_up = True

    def wait_for(self, pattern: str) -> str:
        """The next line in which the pattern is found."""
        while (line := self._lines.get(timeout=_TIMEOUT)) is not None:
            self.output += line
            if re.search(pattern, line):
                return line
        raise AssertionError(f"ended without {pattern!r}:\n{self.output}")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, with `output` complete."""
        while (line := self._lines.get(timeout=_TIMEOUT)) is not None:
            self.output += line
        return self._process.wait(_TIMEOUT)

    def end(self) -> None:
        """Kill it if it runs still."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(_TIMEOUT)
        self._reader.join(_TIMEOUT)


@contextmanager
def running_host(*arguments: object, socket: Path, **settings: Any) -> Iterator[Process]:
    """A host that is ready. Killed at the end, if it has not stopped before."""
    host = Process("run", *arguments, socket=socket, **settings)
    try:
        host.wait_for("^ready")
        yield host
    finally:
        host.end()


def under_a_terminal(*arguments: object, socket: Path) -> str:
    """What a command writes to a terminal, on either stream."""
    ours, theirs = os.openpty()
    settings = _environment({"TERM": "xterm", "COLUMNS": "100", "PLUGHOST_SOCKET": str(socket)})
    with subprocess.Popen(
        [COMMAND, *map(str, arguments)], env=settings, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        watchdog = threading.Timer(_TIMEOUT, process.kill)
        watchdog.start()
        seen = b""
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            try:
                while data := terminal.read(65536):
                    seen += data
            except OSError:  # EIO: the other end is closed
                pass
        process.wait(_TIMEOUT)
        watchdog.cancel()
    return seen.decode()


def _sit_before(terminal: int) -> None:
    """Make it the controlling terminal, where Ctrl-C is a key like any other."""
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs the tests in the background ignores it


class Terminal:
    """A command that a person sits before."""

    def __init__(
        self,
        *arguments: object,
        socket: Path | None = None,
        cwd: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        ours, theirs = os.openpty()
        settings = _environment({"TERM": "xterm", "COLUMNS": "100"} | (env or {}))
        settings |= {"PLUGHOST_SOCKET": str(socket)} if socket else {}
        self._process = subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            cwd=cwd,
            env=settings,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: _sit_before(theirs),
        )
        os.close(theirs)
        self._ours = ours
        self.seen = ""
        """All that it has shown."""
        self._waited = 0

    def wait_for(self, text: str) -> None:
        """Return when the text is shown, behind what was waited for before."""
        while (found := self.seen.find(text, self._waited)) < 0:
            assert self._read(), f"ended without {text!r}:\n{self.seen}"
        self._waited = found + len(text)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def wait(self) -> int:
        """Its exit code, with `seen` complete."""
        while self._read():
            pass
        return self._process.wait(_TIMEOUT)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], _TIMEOUT)
        assert ready, f"nothing more is shown after:\n{self.seen}"
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        self.seen += data.decode()
        return bool(data)

    def end(self) -> None:
        """Kill it if it runs still."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(_TIMEOUT)
        os.close(self._ours)


@contextmanager
def terminal(*arguments: object, **settings: Any) -> Iterator[Terminal]:
    """A command under a terminal of its own, killed at the end if it runs still."""
    made = Terminal(*arguments, **settings)
    try:
        yield made
    finally:
        made.end()
