"""What every measured library looks like to the cases: one worker, called in a few ways."""

from typing import Protocol, runtime_checkable

__all__ = ["Batching", "Peer", "Restarting"]


class Peer(Protocol):
    """One worker of one library. The blocking libraries block in these coroutines, on purpose.

    A thread between the event loop and a blocking library would be measured, not the library;
    and nothing else runs on the loop.
    """

    async def start(self) -> None:
        """Start the worker. Called once; `cold_start` times this and the first answer."""

    async def call(self, a: int, b: int) -> int:
        """The sum, computed in the worker (of `raw`: 100 bytes sent there and back)."""

    async def echo(self, data: bytes) -> bytes:
        """The same bytes, back from the worker."""

    async def many(self, calls: int, in_flight: int) -> None:
        """So many calls in all, with so many open at once, driven as the library's docs advise.

        Raises `WrongAnswer` when one is not the sum: errors must not count as fast calls.
        """

    def worker_pids(self) -> list[int]:
        """The roots of the worker's process tree."""

    async def stop(self) -> None:
        """End the worker. Called once, in the task that called `start`."""


@runtime_checkable
class Batching(Protocol):
    """A peer that can put several calls into one message. `in_flight` gives it a second row.

    Not the same as calls in flight: nobody has an answer before the whole batch is done.
    """

    async def batch(self, calls: int, size: int) -> None:
        """So many calls in all, `size` to a message, one message at a time."""


@runtime_checkable
class Restarting(Protocol):
    """A peer whose host outlives its worker. `cold_start` gives it a second row."""

    async def stop_worker(self) -> None:
        """End the worker; the host stays up."""

    async def start_worker(self) -> None:
        """Start a worker again on the same host; only this and its first answer are timed."""
