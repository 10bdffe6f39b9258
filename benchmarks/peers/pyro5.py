"""`Pyro5` over a unix socket, with its msgpack serializer: the default one has no bytes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory

from Pyro5.api import BatchProxy, Proxy, config

from benchmarks.drivers import check, shares
from benchmarks.spawn import start_worker, stop_worker, wait_until_ready, worker_command

__all__ = ["Pyro5Peer"]

config.SERIALIZER = "msgpack"


class Pyro5Peer:
    """The daemon with its default server, a thread for each connection.

    In flight: 64 threads that call in a loop, each with a proxy of its own, since a proxy has
    one owner. As a batch: `BatchProxy` with 64 calls, one message each way.
    """

    async def start(self) -> None:
        self._folder = TemporaryDirectory(prefix="bench-")
        path = f"{self._folder.name}/socket"
        self._process = start_worker(worker_command("pyro5", path))
        wait_until_ready(self._process)
        self._address = f"PYRO:bench@./u:{path}"
        self._proxy = Proxy(self._address)
        self._local = threading.local()
        self._threads: ThreadPoolExecutor | None = None

    async def call(self, a: int, b: int) -> int:
        answer: int = self._proxy.add(a, b)
        return answer

    async def echo(self, data: bytes) -> bytes:
        answer: bytes = self._proxy.echo(data)
        return answer

    async def many(self, calls: int, in_flight: int) -> None:
        if self._threads is None:  # kept, and so are their connections
            self._threads = ThreadPoolExecutor(in_flight, initializer=self._connect)
        list(self._threads.map(self._call_in_a_loop, shares(calls, in_flight)))

    async def batch(self, calls: int, size: int) -> None:
        batch = BatchProxy(self._proxy)
        for _ in range(calls // size):
            for _ in range(size):
                batch.add(1, 2)
            for answer in batch():
                check(answer)

    def worker_pids(self) -> list[int]:
        return [self._process.pid]

    async def stop(self) -> None:
        self._proxy._pyroRelease()  # noqa: SLF001  # the documented name
        stop_worker(self._process)
        if self._threads is not None:
            self._threads.shutdown()
        self._folder.cleanup()

    def _connect(self) -> None:
        self._local.proxy = Proxy(self._address)

    def _call_in_a_loop(self, calls: int) -> None:
        add = self._local.proxy.add
        for _ in range(calls):
            check(add(1, 2))
