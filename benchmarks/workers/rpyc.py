"""An rpyc service on stdin and stdout."""

import rpyc
from rpyc.core.channel import Channel
from rpyc.core.stream import PipeStream


class Bench(rpyc.Service):  # type: ignore[misc]  # rpyc has no types
    """What the host may call."""

    def exposed_add(self, a: int, b: int) -> int:
        """The sum."""
        return a + b

    def exposed_echo(self, data: bytes) -> bytes:
        """The same bytes."""
        return data


rpyc.connect_channel(Channel(PipeStream.from_std(), compress=False), Bench).serve_all()
