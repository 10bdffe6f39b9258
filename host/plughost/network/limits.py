"""What one worker may use of the network that it is granted."""

from dataclasses import dataclass, fields

from plughost.errors import HostMisuse
from plughost.units import MiB

__all__ = ["NetworkLimits"]


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """Times are seconds, sizes bytes."""

    connections: int = 64
    """Open at once; further ones wait in the kernel's queue, which is short."""
    connections_per_second: int = 50
    """Twice as many may come at once; beyond, they wait."""
    connect_timeout: float = 10.0
    """From the name to a connection, over all its addresses."""
    head_timeout: float = 10.0
    """For a whole TLS hello on port 443, or a whole request head at the proxy."""
    idle_timeout: float = 60.0
    """A connection on which nothing moves for so long is cut."""
    connection_bytes: int = 1024 * MiB
    """Both ways together; a connection is cut there."""
    names: int = 1024
    """Different names looked up under wildcards; further ones are not answered."""
    queries_per_second: int = 200
    """Name queries; beyond, they are dropped."""

    def __post_init__(self) -> None:
        for item in fields(self):
            if (value := getattr(self, item.name)) <= 0:
                raise HostMisuse(f"NetworkLimits.{item.name} must be more than 0, not {value}")
