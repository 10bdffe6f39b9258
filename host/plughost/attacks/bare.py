"""The control run without a host: the attacker as an ordinary child process."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from .attack import Aim, Answer, Attempt

__all__ = ["try_bare"]

_PROGRAM: Final = Path(__file__).parent / "plugin" / "bare.py"
_TIMEOUT: Final = 30.0  # seconds


async def try_bare(name: str, aim: Aim) -> tuple[Attempt, str]:
    """Try it in a child that inherits all that this process has. The attempt and the evidence."""
    return await anyio.to_thread.run_sync(_try, name, aim)


def _try(name: str, aim: Aim) -> tuple[Attempt, str]:
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-I", "-S", "-B", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        close_fds=False,
    )
    watchdog = threading.Timer(_TIMEOUT, process.kill)
    watchdog.start()
    try:
        return _ask(process, name, aim)
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def _ask(process: subprocess.Popen[bytes], name: str, aim: Aim) -> tuple[Attempt, str]:
    assert process.stdin is not None  # noqa: S101 - for the type checker
    assert process.stdout is not None  # noqa: S101
    request = {"name": name, "target": aim.target}
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        _, errors = process.communicate(timeout=_TIMEOUT)
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        attempt = Attempt(Answer(False, f"it died: {process.returncode} {' '.join(last)}"), 0)
        return attempt, aim.proof(attempt)
    answer: dict[str, Any] = json.loads(line)
    attempt = Attempt(Answer(**answer), process.pid)
    return attempt, aim.proof(attempt)
