"""Runs the measurements: a fresh host process for each, all peers in turns, none for ever.

This process adopts orphans (Linux's child subreaper), so that the workers of a host that
crashed or hung become its children and are killed before the next measurement starts.
"""

import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.spawn import ROOT

__all__ = ["Plan", "Sample", "Step", "adopt_orphans", "measure", "steps"]

_PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h
_STDERR_TAIL: Final = 4000  # characters, enough for the last traceback
_REAP_TIMEOUT: Final = 5.0  # killed processes are gone in milliseconds, unless the disk hangs


@dataclass(frozen=True)
class Plan:
    """What to measure, and how long."""

    peers: Sequence[str]
    cases: Sequence[str]
    rounds: int
    seconds: float
    """Of each measurement that is a loop."""
    timeout: float
    """Of each host process, start and stop included."""


@dataclass(frozen=True)
class Step:
    """One measurement to make."""

    round: int
    case: str
    peer: str


@dataclass(frozen=True)
class Sample:
    """What came of one measurement: rows or an error, never both."""

    step: Step
    elapsed: float
    load: float
    """Of the machine before it, over a minute: this run's own share is about 1."""
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    error: str = ""
    stderr: str = ""


def steps(plan: Plan) -> Iterator[Step]:
    """All measurements in order: every other round runs backwards, so that drift cancels."""
    for number in range(plan.rounds):
        turn = [Step(number, case, peer) for case in plan.cases for peer in plan.peers]
        yield from reversed(turn) if number % 2 else turn


def adopt_orphans() -> None:
    """Become the parent of processes whose parent dies, for `measure` to kill them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(error)}")


def measure(step: Step, plan: Plan) -> Sample:
    """Make one measurement. Returns in bounded time, with no process left that it started."""
    start = time.monotonic()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        answer = Path(folder, "answer.json")
        # A file, not a pipe: an orphan that holds a pipe would keep us reading.
        log = Path(folder, "stderr.txt")
        command = [sys.executable, "-m", "benchmarks.child"]
        command += [step.peer, step.case, str(plan.seconds), str(answer)]
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                status: int | None = process.wait(plan.timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _kill_all_below()
                process.wait()

        elapsed = time.monotonic() - start
        tail = log.read_text(encoding="utf-8", errors="replace")[-_STDERR_TAIL:].strip()
        result: dict[str, Any] = {}
        if answer.exists():
            result = json.loads(answer.read_text(encoding="utf-8"))

    if "rows" in result and status == 0:
        return Sample(step, elapsed, load, rows=result["rows"])
    if status is None:
        error = f"timed out after {plan.timeout:g} s"
    else:
        error = result.get("error") or f"exit status {status}: {tail.rpartition(os.linesep)[2]}"
    return Sample(step, elapsed, load, error=error, stderr=tail)


def _kill_all_below() -> None:
    """Kill every process below this one, those that it adopted too."""
    # Again until none is left: a parent may fork while its children are being listed.
    deadline = time.monotonic() + _REAP_TIMEOUT
    while children := psutil.Process().children(recursive=True):
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(children, timeout=1.0)
        if time.monotonic() > deadline:
            raise TimeoutError(f"still there after SIGKILL: {children}")
