"""What is measured: one file a peer, each with one class that is a `benchmarks.peer.Peer`."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Final

from benchmarks.peer import Peer

__all__ = ["PEERS", "Entry", "load"]


@dataclass(frozen=True)
class Entry:
    """One peer, known without importing it."""

    name: str
    """For the command line, and of the module in this folder."""
    label: str
    class_name: str
    needs: tuple[str, ...] = ()
    """The import packages without which there is nothing to measure."""
    distributions: tuple[str, ...] = ()
    """What to name, with versions, in the results."""

    def is_installed(self) -> bool:
        """Whether all that it needs can be found; nothing is imported."""
        return all(importlib.util.find_spec(package) is not None for package in self.needs)


PEERS: Final = (
    Entry("raw", "raw pipes", "RawPeer"),
    Entry("process_pool", "ProcessPoolExecutor", "ProcessPoolPeer"),
    Entry("pebble", "pebble", "PebblePeer", ("pebble",), ("pebble",)),
    Entry("rpyc", "rpyc, stdio", "RpycPeer", ("rpyc",), ("rpyc",)),
    Entry("pyro5", "Pyro5, unix socket", "Pyro5Peer", ("Pyro5", "msgpack"), ("Pyro5", "msgpack")),
    Entry("grpc", "grpc.aio, unix socket", "GrpcPeer", ("grpc",), ("grpcio",)),
    Entry("mcp", "MCP SDK, stdio", "McpPeer", ("mcp",), ("mcp",)),
    Entry("plughost", "plughost", "PlughostPeer", ("plughost",), ("plughost", "msgspec")),
)


def load(name: str) -> Peer:
    """A new peer of this name. Imports its module, and no other peer's."""
    entry = next(entry for entry in PEERS if entry.name == name)
    module = importlib.import_module(f"{__name__}.{entry.name}")
    peer: Peer = getattr(module, entry.class_name)()
    return peer
