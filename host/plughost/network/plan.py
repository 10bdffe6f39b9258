"""What a worker's namespace must hold so that its libraries find the granted hosts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from plughost.catalog.host_names import HostRule
from plughost.errors import HostMisuse
from plughost_protocol.confinement import Listener

from .synthetic import SyntheticNames

__all__ = ["PROXY_PORT", "NetworkPlan", "network_plan"]

PROXY_PORT: Final = 3128
"""Where the proxy listens, for clients that are told to use one."""

_DNS_PORT: Final = 53
_MAX_PORTS: Final = 64  # each is a descriptor in the host
_MAX_NAMES: Final = 10_000  # the hosts file is read from the top at every lookup


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """Sockets, files and ports. No proxy variable is set: libraries need none.

    Ports below 1024 can be bound in a network namespace of the worker's own.
    """

    listeners: tuple[Listener, ...]
    hosts: str
    """For /etc/hosts."""
    resolv_conf: str
    nsswitch_conf: str
    connect_ports: tuple[int, ...]
    """The TCP ports that the worker may connect to."""


def network_plan(rules: Iterable[HostRule]) -> NetworkPlan:
    """The plan for these rules; without rules, nothing but the files that find no name."""
    rules = tuple(rules)
    ports = sorted({port for rule in rules for port in rule.ports})
    names = SyntheticNames(rules).exact
    wildcards = any(rule.is_wildcard for rule in rules)
    if len(ports) > _MAX_PORTS or len(names) > _MAX_NAMES:
        raise HostMisuse(
            f"network grants name {len(ports)} ports and {len(names)} hosts; at most {_MAX_PORTS} "
            f"and {_MAX_NAMES} are possible for one plugin: grant a wildcard instead"
        )
    connect_ports = sorted({*ports, PROXY_PORT}) if rules else []
    # A granted 3128 shares the socket with the proxy: their local addresses differ.
    listeners = [
        Listener("tcp", "0.0.0.0" if port in ports else "127.0.0.1", port)  # noqa: S104 - a loopback is all there is
        for port in connect_ports
    ]
    if wildcards:
        listeners.append(Listener("udp", "127.0.0.1", _DNS_PORT))
    lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in names.items())]
    return NetworkPlan(
        listeners=tuple(listeners),
        hosts="\n".join(lines) + "\n",
        # The nameserver is written either way: without one, resolvers take their own default.
        resolv_conf="nameserver 127.0.0.1\noptions timeout:2 attempts:1\n",
        nsswitch_conf="hosts: files dns\n" if wildcards else "hosts: files\n",
        connect_ports=tuple(connect_ports),
    )
