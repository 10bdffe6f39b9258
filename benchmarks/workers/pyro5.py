"""A Pyro5 daemon on the unix socket that is named as the only argument."""

import sys

from Pyro5.api import Daemon, expose


@expose
class Bench:
    """What the host may call."""

    def add(self, a: int, b: int) -> int:
        """The sum."""
        return a + b

    def echo(self, data: bytes) -> bytes:
        """The same bytes."""
        return data


daemon = Daemon(unixsocket=sys.argv[1])
daemon.register(Bench(), "bench")
print("ready", flush=True)
daemon.requestLoop()
