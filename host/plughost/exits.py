"""How a worker ended: the cause, the evidence, and the sentence that says so."""

import signal
from dataclasses import dataclass
from enum import StrEnum

from plughost_protocol import CodePlace

from .units import format_bytes

__all__ = ["Cause", "WorkerExit"]


class Cause(StrEnum):
    """Why a worker ended. The restart policy has a rule for each."""

    EXITED = "exited"
    """It ended by itself, with an exit code."""
    SIGNALLED = "signalled"
    """A signal that the host did not send ended it: a crash, or somebody's kill."""
    LOAD_FAILED = "load_failed"
    """The plugin could not be imported, or its `on_load` raised."""
    SANDBOX = "sandbox"
    """The machine refused a layer of its sandbox, so no plugin code ran."""
    NOT_READY = "not_ready"
    """It was not ready within the time for loading."""
    DEADLINE = "deadline"
    """A call did not stop when its deadline had passed."""
    MEMORY = "memory"
    """It outgrew its memory limit, or the total of all plugins."""
    DISK = "disk"
    """Its data folder outgrew its limit; it stays down until the folder is cleaned."""
    UNRESPONSIVE = "unresponsive"
    """Its message loop stopped answering, and no call explained that."""
    VIOLATION = "violation"
    """It broke the protocol."""
    TEMPLATE_DIED = "template_died"
    """The process that workers are forked from died, and took them along."""
    STOPPED = "stopped"
    """The host stopped it."""


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """The end of one worker."""

    cause: Cause
    detail: str = ""
    """The cause in words, where the host knows more than the exit status tells."""
    code: int | None = None
    """As `os.waitstatus_to_exitcode` has it: an exit code, or minus a signal number."""
    pid: int = 0
    peak: int = 0
    """The most resident memory, in bytes."""
    cpu: float = 0.0
    """Seconds of CPU time used."""
    stack: str = ""
    """The Python stacks of its threads, where one was taken."""
    stderr: tuple[str, ...] = ()
    """The last lines it wrote to its standard error."""
    places: tuple[CodePlace, ...] = ()
    """The lines of its code that the exception came through, innermost last, where it did not load;
    as trustworthy as the plugin."""
    traceback: str = ""
    """That exception's, its last lines; as trustworthy as the plugin."""

    @property
    def signal(self) -> str:
        """The name of the signal that ended it, or nothing."""
        if self.code is None or self.code >= 0:
            return ""
        try:
            return signal.Signals(-self.code).name
        except ValueError:
            return f"signal {-self.code}"

    def __str__(self) -> str:
        """One line: why it died."""
        if self.detail:
            return self.detail
        if self.signal:
            return f"killed by {self.signal}"
        if self.code is not None:
            return f"exited with code {self.code}"
        return self.cause.value.replace("_", " ")

    def report(self) -> str:
        """All that is known, in several lines, for a log or a terminal."""
        lines = [str(self)]
        if self.peak:
            lines.append(f"peak memory {format_bytes(self.peak)}, CPU {self.cpu:.2f} s")
        if self.stderr:
            lines += ["last lines of stderr:", *(f"  {line}" for line in self.stderr)]
        if self.stack:
            lines += ["stacks of its threads:", *(f"  {line}" for line in self.stack.splitlines())]
        return "\n".join(lines)
