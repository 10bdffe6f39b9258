"""One worker process: its descriptors, its signals, its end."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from plughost.errors import PlughostError
from plughost_protocol.launch import STACK_SIGNAL_OFFSET

from .pipes import WorkerPipes

__all__ = ["Process"]


class Process:
    """A child of the template process. Signalled by pidfd, or by its parent; never by a bare pid.

    The template calls `spawned` and `exited`; `on_exit` is called once it is dead and reaped.
    """

    def __init__(
        self,
        pipes: WorkerPipes,
        on_exit: Callable[[], None],
        signal_by_template: Callable[[int], None],
    ) -> None:
        self.pipes = pipes
        self.pid = 0
        self.code: int | None = None
        self.max_rss = 0
        self.cpu = 0.0
        self.ended = False
        """Whether it is dead and reaped."""
        self.sockets: list[socket.socket] = []
        self.refusal: PlughostError | None = None
        self._pidfd = -1
        self._kill_when_spawned = False
        self._on_exit = on_exit
        self._signal_by_template = signal_by_template

    def spawned(self, pid: int, pidfd: int) -> None:
        """From the template: it runs."""
        self.pid = pid
        self._pidfd = pidfd
        self.pipes.close_child_ends()
        if self._kill_when_spawned:
            self.kill()

    def exited(self, code: int | None, max_rss: int, cpu: float) -> None:
        """From the template: it is dead. The pipes may still hold its last words."""
        self.code = code
        self.max_rss = max_rss
        self.cpu = cpu
        self.ended = True
        if code is None:  # it should have died with the template, and can have seen to it not to
            self.kill()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        while self.sockets:
            self.sockets.pop().close()
        self._on_exit()

    def signal(self, number: int) -> None:
        """Send a signal; one that comes too late is not an error."""
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
        elif self.pid and not self.ended:
            self._signal_by_template(number)

    def take_sockets(self) -> list[socket.socket]:
        """The sockets that the process has made for the host; they belong to the caller now."""
        taken, self.sockets = self.sockets, []
        return taken

    def kill(self) -> None:
        """SIGKILL, as soon as there is a process. Works on a stopped one too."""
        self._kill_when_spawned = True
        self.signal(signal.SIGKILL)

    def ask_for_stacks(self) -> None:
        """Have it write the Python stacks of its threads to `pipes.stacks`."""
        self.signal(signal.SIGRTMIN + STACK_SIGNAL_OFFSET)

    def __repr__(self) -> str:
        state = f"exit {self.code}" if self.ended else "running"
        return f"<Process {self.pid} {state}>"
