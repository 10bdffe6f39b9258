"""Workers that a peer starts by itself: a script of `benchmarks/workers`, spoken to by pipes."""

import subprocess
import sys
from pathlib import Path
from typing import IO, Final

__all__ = ["ROOT", "pipe", "start_worker", "stop_worker", "wait_until_ready", "worker_command"]

ROOT: Final = Path(__file__).resolve().parent.parent
"""The repository."""

_WORKERS: Final = ROOT / "benchmarks" / "workers"
_STOP_TIMEOUT: Final = 5.0  # a worker with nothing to do ends at once; then it is killed


def worker_command(name: str, *arguments: str, flags: tuple[str, ...] = ("-P",)) -> list[str]:
    """The command line of a worker."""
    # -P: workers/rpyc.py must import rpyc, and not itself.
    return [sys.executable, *flags, str(_WORKERS / f"{name}.py"), *arguments]


def start_worker(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a worker with unbuffered pipes as its stdin and stdout."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """The stream, of which the type checker cannot know that it was asked for."""
    if stream is None:
        raise ValueError("the worker was started without pipes")
    return stream


def wait_until_ready(process: subprocess.Popen[bytes]) -> None:
    """Return when the worker has said that its socket is there."""
    line = pipe(process.stdout).readline()
    if line != b"ready\n":
        raise ConnectionError(f"the worker said {line!r} in place of 'ready'")


def stop_worker(process: subprocess.Popen[bytes]) -> None:
    """Close the pipes, ask the worker to end, wait, kill."""
    pipe(process.stdin).close()
    pipe(process.stdout).close()
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
