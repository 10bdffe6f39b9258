"""The descriptors between the host and one worker."""

import fcntl
import os
from contextlib import suppress
from typing import Final, Self

from plughost.units import KiB

__all__ = ["WorkerPipes"]

# Half the trips for large payloads. The kernel lets an unprivileged user have 64 MiB of pipes
# in all (pipe(7)), so not more; what it refuses is done without.
_PIPE_SIZE: Final = 256 * KiB


class WorkerPipes:
    """Five pipes: RPC to and from the worker, its stdout, its stderr, its stacks."""

    def __init__(self) -> None:
        self._child: list[int] = []
        self._host: list[int] = []
        try:
            rpc_in, self.to_worker = self._pipe()
            self.from_worker, rpc_out = self._pipe()
            self.stdout, stdout = self._pipe()
            self.stderr, stderr = self._pipe()
            self.stacks, stacks = self._pipe()
        except OSError:
            self.close()
            raise
        self._host = [self.to_worker, self.from_worker, self.stdout, self.stderr, self.stacks]
        self._child = [rpc_in, rpc_out, stdout, stderr, stacks]
        for fd in self._host:
            os.set_blocking(fd, False)
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            for fd in (self.to_worker, self.from_worker):
                with suppress(OSError):
                    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._child += ends  # until all are there, one list to close
        return ends

    @property
    def child_ends(self) -> list[int]:
        """RPC in, RPC out, stdout, stderr, stacks, as the worker takes them."""
        return self._child

    def close_child_ends(self) -> None:
        """Close the worker's ends here, so that its death is the end of each pipe."""
        _close(self._child)

    def hang_up(self) -> None:
        """Close the way to the worker: one whose loop is alive ends at once."""
        if self.to_worker in self._host:
            self._host.remove(self.to_worker)
            os.close(self.to_worker)

    def close(self) -> None:
        """Close all that is open."""
        _close(self._child)
        _close(self._host)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _close(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())
