"""The control socket on disk: one live host a path, a dead one's file replaced, ours removed."""

import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from plughost_protocol import ErrorCode

from .control import peer_of
from .problems import CommandFailed, Problem

__all__ = ["listening"]

_BACKLOG: Final = 64
_LOCK_TIMEOUT: Final = 2.0  # seconds; another run holds the lock only while it looks and binds
_PROBE_TIMEOUT: Final = 1.0  # seconds; a host that lives accepts in the kernel, at once


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket that listens at `path`, with mode 0600, while the block lasts.

    Raises `CommandFailed` where a host serves there already, or another kind of file is there.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener:
        listener.setblocking(False)
        # Before bind(), which takes the mode of the file from the socket: never open to others.
        os.fchmod(listener.fileno(), 0o600)
        try:
            with _locked(path.parent):
                _clear(path)
                listener.bind(str(path))
                listener.listen(_BACKLOG)
                ours = path.lstat()
        except OSError as exc:
            raise _unusable(path, exc.strerror or str(exc)) from exc
        try:
            yield listener
        finally:
            with suppress(OSError):
                found = path.lstat()
                if (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino):
                    path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Between the look at an old file and our own, nobody else does the same."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        end = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)  # nothing else runs yet
        yield
    finally:
        os.close(fd)


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens at."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _unusable(path, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except (TimeoutError, BlockingIOError):
            raise _in_use(path, "a host") from None  # alive, and with a full backlog
        else:
            raise _in_use(path, f"process {peer_of(probe).pid}")


def _in_use(path: Path, who: str) -> CommandFailed:
    return CommandFailed(
        Problem(
            f"a host runs already: {who} serves {path}",
            "each running host has a socket of its own",
            "plughost list, to see it; or run this one with --socket PATH",
            code=ErrorCode.INTERNAL,
        )
    )


def _unusable(path: Path, why: str) -> CommandFailed:
    return CommandFailed(
        Problem(
            f"the control socket cannot be made: {path}",
            why,
            "--socket PATH, in a folder that is yours",
            code=ErrorCode.INTERNAL,
        )
    )
