"""The addresses that no plugin is connected to, whatever name leads there.

`ipaddress.is_global` is not the judge: it passes NAT64, 6to4, IPv4-compatible, site-local and
multicast addresses, each a way to an inside address or to nobody.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeAlias

__all__ = ["BLOCKED", "Address", "Blocked", "parse_address", "refusal"]

Address: TypeAlias = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Blocked:
    """A range that is not dialled."""

    network: IPv4Network | IPv6Network
    what: str
    source: str
    private: bool = False
    """Whether an operator can allow it, by name."""


def _blocked(network: str, what: str, source: str, *, private: bool = False) -> Blocked:
    return Blocked(ip_network(network), what, source, private)


BLOCKED: Final = (
    # The narrower range first: a metadata service is refused where its surroundings are allowed.
    _blocked("169.254.169.254/32", "a cloud metadata service", "AWS, Azure, GCP, OpenStack"),
    _blocked("100.100.100.200/32", "a cloud metadata service", "Alibaba Cloud"),
    _blocked("168.63.129.16/32", "a cloud metadata service", "Azure WireServer"),
    _blocked("192.0.0.192/32", "a cloud metadata service", "Oracle Cloud"),
    _blocked("fd00:ec2::/32", "a cloud metadata service", "AWS"),
    _blocked("fd20:ce::254/128", "a cloud metadata service", "GCP"),
    _blocked("0.0.0.0/8", "an address of this network", "RFC 791"),
    _blocked("10.0.0.0/8", "a private address", "RFC 1918", private=True),
    _blocked("100.64.0.0/10", "a shared (CGNAT) address", "RFC 6598", private=True),
    _blocked("127.0.0.0/8", "a loopback address", "RFC 1122", private=True),
    _blocked("169.254.0.0/16", "a link-local address", "RFC 3927"),
    _blocked("172.16.0.0/12", "a private address", "RFC 1918", private=True),
    _blocked("192.0.0.0/24", "an address of protocol assignments", "RFC 6890"),
    _blocked("192.0.2.0/24", "a documentation address", "RFC 5737"),
    _blocked("192.88.99.0/24", "a 6to4 relay address", "RFC 7526"),
    _blocked("192.168.0.0/16", "a private address", "RFC 1918", private=True),
    _blocked("198.18.0.0/15", "a benchmarking address", "RFC 2544", private=True),
    _blocked("198.51.100.0/24", "a documentation address", "RFC 5737"),
    _blocked("203.0.113.0/24", "a documentation address", "RFC 5737"),
    _blocked("224.0.0.0/4", "a multicast address", "RFC 5771"),
    _blocked("255.255.255.255/32", "the broadcast address", "RFC 919"),
    _blocked("240.0.0.0/4", "a reserved address", "RFC 1112"),
    _blocked("::/128", "the unspecified address", "RFC 4291"),
    _blocked("::1/128", "a loopback address", "RFC 4291", private=True),
    _blocked("::/96", "an IPv4-compatible address", "RFC 4291"),
    _blocked("64:ff9b::/96", "a NAT64 address", "RFC 6052"),
    _blocked("64:ff9b:1::/48", "a NAT64 address", "RFC 8215"),
    _blocked("100::/64", "a discard address", "RFC 6666"),
    _blocked("2001::/32", "a Teredo address", "RFC 4380"),
    _blocked("2001::/23", "an address of protocol assignments", "RFC 2928"),
    _blocked("2001:db8::/32", "a documentation address", "RFC 3849"),
    _blocked("2002::/16", "a 6to4 address", "RFC 3056"),
    _blocked("3fff::/20", "a documentation address", "RFC 9637"),
    _blocked("5f00::/16", "a segment routing address", "RFC 9602"),
    _blocked("fc00::/7", "a unique local address", "RFC 4193", private=True),
    _blocked("fe80::/10", "a link-local address", "RFC 4291"),
    _blocked("fec0::/10", "a site-local address", "RFC 3879"),
    _blocked("ff00::/8", "a multicast address", "RFC 4291"),
)

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has given out so far


def parse_address(text: str) -> Address:
    """The address that is really dialled: IPv4-mapped ones become IPv4.

    Raises `ValueError` for what is no address, and for one with a zone id.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text!r} has a zone id: it is an address of one link")
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
    return address


def refusal(address: str | Address, *, allow_private: bool = False) -> str | None:
    """Why the address is not dialled; None for one that may be.

    `allow_private` passes the ranges of inside networks, but no metadata service.
    """
    try:
        address = parse_address(str(address))
    except ValueError as exc:
        return str(exc)
    for blocked in BLOCKED:
        if address.version == blocked.network.version and address in blocked.network:
            if blocked.private and allow_private:
                return None
            return f"{address} is {blocked.what} ({blocked.source})"
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return f"{address} is outside the global unicast range {_GLOBAL_UNICAST} (RFC 4291)"
    return None
