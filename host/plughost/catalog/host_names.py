"""The host names of a grant: `api.example.com`, `api.example.com:8443`, `*.example.com`."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["DEFAULT_PORTS", "HostRule", "canonical_name", "canonical_port"]

DEFAULT_PORTS: Final = (80, 443)
"""The ports of a rule that names none."""

_MAX_NAME: Final = 253  # RFC 1035, section 2.3.4, as text without the last dot
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# What inet_aton and the URL standard read as a number; a name that ends in one is an address.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
# `*.co.uk` is as wide as `*.com`. Not the whole list of public suffixes, which changes weekly.
_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "gov", "mil", "ne", "net", "or", "org"})


@dataclass(frozen=True, slots=True, order=True)
class HostRule:
    """A name, or all names below one, with the ports that go with it."""

    name: str
    """Lower case, no dot at its end; begins with `*.` for all names below, at any depth."""
    ports: tuple[int, ...] = DEFAULT_PORTS

    @classmethod
    def parse(cls, text: str, *, allow_private: Collection[str] = ()) -> Self:
        """The rule in `HOST[:PORT]`. Raises `ValueError`, with the reason in words.

        `allow_private` holds the names that may have one label only: `localhost`, `db`.
        """
        if "/" in text:
            raise ValueError(f"{text!r} is no host: leave out the scheme and the path")
        if "@" in text:
            raise ValueError(f"{text!r} is no host: leave out the user and the password")
        if text.startswith("[") or text.count(":") > 1:
            raise ValueError(_no_addresses(text))
        host, colon, port = text.partition(":")
        ports = (canonical_port(port),) if colon else DEFAULT_PORTS
        if not host.startswith("*"):
            return cls(canonical_name(host, allow_private=allow_private), ports)
        star, _, parent = host.partition(".")
        if star != "*" or "*" in parent:
            raise ValueError(f"in {text!r} the * must be the whole first label: *.example.com")
        return cls(f"*.{_not_too_wide(parent, text)}", ports)

    @property
    def is_wildcard(self) -> bool:
        return self.name.startswith("*.")

    def matches(self, name: str, port: int) -> bool:
        """Whether the rule allows `port` at `name`. What is no name is never allowed."""
        try:
            name = canonical_name(name, allow_private=(self.name,))
        except ValueError:
            return False
        return port in self.ports and self._holds(name)

    def covers(self, other: "HostRule") -> bool:
        """Whether this rule, granted, allows all that `other` asks for."""
        return set(other.ports) <= set(self.ports) and self._holds(other.name)

    def _holds(self, name: str) -> bool:
        # A wildcard's name keeps its dot here: `*.example.com` holds `.example.com`'s names only.
        return name == self.name or (self.is_wildcard and name.endswith(self.name[1:]))

    def __str__(self) -> str:
        if self.ports == DEFAULT_PORTS:
            return self.name
        return f"{self.name}:{','.join(map(str, self.ports))}"


def canonical_name(text: str, *, allow_private: Collection[str] = ()) -> str:
    """The host name in lower case, without the dot at its end.

    Raises `ValueError` for what is no name of letters, digits and hyphens: addresses in any
    notation, names beyond ASCII, a single label that is not in `allow_private`.
    """
    name = text.removesuffix(".").lower()
    if not text.isascii():
        raise ValueError(f"{text[:_MAX_NAME]!r} is not plain ASCII{_a_label_form(name)}")
    if not name or len(name) > _MAX_NAME:
        raise ValueError(f"a host name has 1 to {_MAX_NAME} characters, not {len(name)}")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]) or ":" in name:
        raise ValueError(_no_addresses(text))
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(
                f"{text!r} is no host name: {label!r} is no label of 1 to 63 letters, digits and "
                "inner hyphens"
            )
    if len(labels) == 1 and name not in allow_private:
        raise ValueError(
            f"{text!r} has one label only: write the whole name, such as {name}.example.com; "
            "names of the local network are for the operator to allow"
        )
    return name


def canonical_port(text: str) -> int:
    """The port in `text`. Raises `ValueError` for what is no decimal from 1 to 65535."""
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ValueError(f"{text[:20]!r} is no port: write a number from 1 to 65535")
    return int(text)


def _not_too_wide(parent: str, text: str) -> str:
    labels = parent.removesuffix(".").lower().split(".")
    generic = len(labels) == 2 and len(labels[1]) == 2 and labels[0] in _SECOND_LEVEL
    if generic or len(labels) < 2:
        raise ValueError(f"{text!r} is too wide: name the domain, as in *.example.com")
    return canonical_name(parent)


def _no_addresses(text: str) -> str:
    return f"{text[:_MAX_NAME]!r} is an address: write a host name, since only names are granted"


def _a_label_form(name: str) -> str:
    """A hint with the `xn--` form, where Python's old tables leave no doubt about it."""
    try:
        encoded = name.encode("idna") if len(name) <= _MAX_NAME else b""
        if encoded and encoded.decode("idna") == name:
            return f": write {encoded.decode('ascii')}"
    except UnicodeError:
        pass
    return ": write its xn-- form"
