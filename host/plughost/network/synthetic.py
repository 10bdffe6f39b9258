"""The loopback addresses that stand for host names in a worker's network namespace."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import Final

from plughost.catalog.host_names import HostRule, canonical_name

__all__ = ["SyntheticNames"]

# Of 127.64.0.0/10: loopback, and away from the addresses that programs use themselves.
_FIRST: Final = IPv4Address("127.64.0.1")


class SyntheticNames:
    """Each name has an address of its own, by which a connection tells what it is for.

    Exact names have theirs from the start, in the order of the alphabet; a name under a wildcard
    gets one when it is first looked up.
    """

    def __init__(self, rules: Iterable[HostRule], *, looked_up: int = 0) -> None:
        """`looked_up` is how many names under wildcards there may be."""
        rules = tuple(rules)
        self._wildcards: Sequence[HostRule] = [rule for rule in rules if rule.is_wildcard]
        self._addresses: dict[str, IPv4Address] = {}
        self._names: dict[IPv4Address, str] = {}
        for name in sorted({rule.name for rule in rules if not rule.is_wildcard}):
            self._add(name)
        self.exact = dict(self._addresses)
        """The names that need no looking up."""
        self._limit = len(self._addresses) + looked_up

    def name_of(self, address: str) -> str | None:
        """The name behind the local address of a connection."""
        return self._names.get(IPv4Address(address))

    def address_of(self, text: str) -> IPv4Address | None:
        """The address for a name in any case; None for one without a rule, or one too many."""
        try:
            name = canonical_name(text, allow_private=self._addresses)
        except ValueError:
            return None
        known = self._addresses.get(name)
        if known is None and len(self._addresses) < self._limit and self._is_allowed(name):
            return self._add(name)
        return known

    def _is_allowed(self, name: str) -> bool:
        return any(rule.matches(name, rule.ports[0]) for rule in self._wildcards)

    def _add(self, name: str) -> IPv4Address:
        address = _FIRST + len(self._addresses)
        self._addresses[name] = address
        self._names[address] = name
        return address
