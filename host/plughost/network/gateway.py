"""The host's side of a worker's network: it accepts, judges, dials and passes bytes on.

The sockets that it is given live in the worker's own network namespace, where there is nothing
else. A connection tells by its local address which name it is for, or by its request to the proxy.
"""

import logging
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import anyio
from anyio.abc import TaskGroup

from plughost.catalog.host_names import HostRule
from plughost.pace import Pace
from plughost.text import clean_line

from . import dns
from .client import ClientStream
from .limits import NetworkLimits
from .passage import Passage, Terms
from .record import Connection, Outcome
from .resolver import Resolve, Resolver
from .synthetic import SyntheticNames

__all__ = ["Gateway"]

_log: Final = logging.getLogger("plughost.network")

_PAUSE: Final = 0.1  # seconds to leave a socket alone that fails, as when descriptors run out


class Gateway:
    """The network of one worker.

    >>> gateway = Gateway("weather", rules, listeners, audit=print)  # doctest: +SKIP
    >>> await gateway.serve()  # doctest: +SKIP
    """

    def __init__(
        self,
        plugin_id: str,
        rules: Iterable[HostRule],
        listeners: Sequence[socket.socket],
        audit: Callable[[Connection], None],
        *,
        limits: NetworkLimits | None = None,
        resolver: Resolve | None = None,
        allow_private: Collection[str] = frozenset(),
    ) -> None:
        """`listeners` are those of the plan for these rules; they belong to the gateway now."""
        self._plugin_id = plugin_id
        self._listeners = tuple(listeners)
        self._audit = audit
        self._limits = limits = limits or NetworkLimits()
        rules = tuple(rules)
        self._terms = Terms(
            rules=rules,
            names=SyntheticNames(rules, looked_up=limits.names),
            limits=limits,
            resolver=resolver or Resolver(),
            allow_private=frozenset(allow_private),
        )
        self._refused_names: set[str] = set()
        self._open = 0

    async def serve(self) -> None:
        """Serve until cancelled; then every connection is closed, and the listeners too."""
        per_second = self._limits.connections_per_second
        pace = Pace(per_second, 2 * per_second)
        slots = anyio.Semaphore(self._limits.connections)
        try:
            async with anyio.create_task_group() as tasks:
                for listener in self._listeners:
                    listener.setblocking(False)
                    if listener.type is socket.SOCK_DGRAM:
                        tasks.start_soon(self._answer_queries, listener)
                    else:
                        tasks.start_soon(self._accept, listener, tasks, slots, pace)
        finally:
            self.close()

    def close(self) -> None:
        """Close the listeners. Only needed for a gateway that does not serve."""
        for listener in self._listeners:
            listener.close()

    async def _accept(
        self, listener: socket.socket, tasks: TaskGroup, slots: anyio.Semaphore, pace: Pace
    ) -> None:
        while True:
            # The slot comes after: a listener that waits holds none.
            await anyio.wait_readable(listener)
            while wait := pace.take(anyio.current_time()):  # noqa: ASYNC110 - time is the event
                await anyio.sleep(wait)
            await slots.acquire()
            try:
                client = ClientStream.accept(listener)
            except OSError as exc:
                slots.release()
                if not isinstance(exc, BlockingIOError | ConnectionAbortedError):
                    _log.warning("a connection of %s was not taken: %s", self._plugin_id, exc)
                    await anyio.sleep(_PAUSE)
                continue
            tasks.start_soon(self._serve_client, client, slots)

    async def _serve_client(self, client: ClientStream, slots: anyio.Semaphore) -> None:
        started = anyio.current_time()
        outcome, reason = Outcome.CUT, "the worker ended"
        passage = Passage(client, self._terms)
        self._open += 1
        try:
            outcome, reason = await passage.run()
        except Exception:  # noqa: BLE001 - our bug: the worker's other connections go on
            _log.exception("a connection of %s failed", self._plugin_id)
            outcome, reason = Outcome.FAILED, "the host failed; its log says why"
        finally:
            client.close(orderly=outcome is Outcome.DONE)
            self._open -= 1
            slots.release()
            self._record(
                Connection(
                    plugin=self._plugin_id,
                    name=passage.name,
                    port=passage.port,
                    address=passage.address,
                    outcome=outcome,
                    reason=clean_line(reason),
                    bytes_up=passage.bytes_up,
                    bytes_down=passage.bytes_down,
                    seconds=anyio.current_time() - started,
                )
            )

    async def _answer_queries(self, listener: socket.socket) -> None:
        per_second = self._limits.queries_per_second
        pace = Pace(per_second, per_second)
        while True:
            await anyio.wait_readable(listener)
            try:
                packet, peer = listener.recvfrom(dns.MAX_PACKET + 1)
                if pace.take(anyio.current_time()) > 0:
                    continue
                question = dns.read_question(packet)
                address = self._terms.names.address_of(question.name)
                if address is None:
                    self._note_refused(question.name)
                listener.sendto(dns.answer(question, address), peer)
            except (dns.BadQuery, BlockingIOError, ConnectionError):
                continue
            except OSError as exc:
                _log.warning("a name query of %s was lost: %s", self._plugin_id, exc)
                await anyio.sleep(_PAUSE)

    def _note_refused(self, name: str) -> None:
        """Record a name without an answer, once: libraries ask again and again."""
        if name in self._refused_names or len(self._refused_names) >= self._limits.names:
            return
        self._refused_names.add(name)
        why = "looked up, and not granted or one too many"
        name = clean_line(name)
        self._record(Connection(self._plugin_id, name, 0, "", Outcome.REFUSED, why, 0, 0, 0.0))

    def _record(self, connection: Connection) -> None:
        try:
            self._audit(connection)
        except Exception:  # noqa: BLE001 - the application's: connections go on
            _log.exception("the audit of %s failed for %s", self._plugin_id, connection)

    def __repr__(self) -> str:
        rules = ", ".join(map(str, self._terms.rules))
        return f"<Gateway {self._plugin_id} open={self._open}: {rules}>"
