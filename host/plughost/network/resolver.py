"""Host names to addresses, by the machine's own resolver."""

import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import anyio

__all__ = ["Resolve", "Resolver"]

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name, as text, best first. Raises `OSError` when there are none."""

_AT_ONCE: Final = 4
_STUCK: Final = 16  # lookups that nobody waits for any more and that still hold a thread


class Resolver:
    """Looks names up, a few at a time.

    Each lookup has a daemon thread of its own. The event loop's pool is not used: it is small,
    and a plugin whose name server never answers would hold all of it, for every plugin and for
    the application, and hold up the end of the process too.
    """

    def __init__(self) -> None:
        self._turns = anyio.Semaphore(_AT_ONCE)
        self._threads = 0
        self._lock = threading.Lock()

    async def __call__(self, name: str, port: int) -> list[str]:
        """Returns at once when cancelled; the thread ends when the resolver gives up."""
        async with self._turns:
            with self._lock:
                if self._threads >= _STUCK:
                    raise OSError(f"{_STUCK} lookups of names hang in the machine's resolver")
                self._threads += 1
            return await self._look_up(name, port)

    async def _look_up(self, name: str, port: int) -> list[str]:
        outcome: list[list[str] | OSError] = []
        done, thread_end = socket.socketpair()

        def run() -> None:
            try:
                found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
                outcome.append([str(address[0]) for *_, address in found])
            except OSError as exc:
                outcome.append(exc)
            except UnicodeError as exc:  # a label that Python's own IDNA codec refuses
                outcome.append(OSError(str(exc)))
            finally:
                with self._lock:
                    self._threads -= 1
                thread_end.close()

        with done:
            done.setblocking(False)
            try:
                threading.Thread(target=run, name=f"resolve {name}", daemon=True).start()
            except RuntimeError as exc:  # no further thread
                with self._lock:
                    self._threads -= 1
                thread_end.close()
                raise OSError(str(exc)) from exc
            await anyio.wait_readable(done)
        (result,) = outcome
        if isinstance(result, OSError):
            raise result
        return result
