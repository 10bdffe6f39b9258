"""Why a worker ended that the host did not end."""

import signal

from plughost.config import Limits
from plughost.exits import Cause
from plughost.sandbox.cgroup import Tenancy
from plughost.units import format_bytes
from plughost_protocol import EXIT_OUT_OF_MEMORY
from plughost_protocol.launch import STACK_SIGNAL_OFFSET

from .process import Process

__all__ = ["verdict_on"]


def verdict_on(process: Process, limits: Limits, tenancy: Tenancy | None) -> tuple[Cause, str]:
    """The cause of a dead process's end, and what more there is to say about it."""
    code = process.code
    if process.refusal is not None:
        return Cause.SANDBOX, str(process.refusal)
    if tenancy is not None and code in (None, -signal.SIGKILL):
        verdict = tenancy.memory_verdict()
        if verdict is not None:
            return verdict
    if code is None:
        return Cause.TEMPLATE_DIED, "the template process died and took it along"
    if code == EXIT_OUT_OF_MEMORY:
        limit = format_bytes(limits.memory)
        peak = format_bytes(process.max_rss)
        return Cause.MEMORY, f"memory limit {limit} exceeded (peak {peak})"
    if code == -(signal.SIGRTMIN + STACK_SIGNAL_OFFSET):
        return Cause.DEADLINE, "it died of the question for its stacks: it took no such signal"
    return (Cause.SIGNALLED if code < 0 else Cause.EXITED), ""
