"""What a secret that a plugin sends may be called, where it may go, and what it may be."""

import re
from collections.abc import Collection
from typing import Final

from .host_names import HostRule

__all__ = ["check_secret_value", "secret_rules"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
# Shorter ones would be found by chance in any text that comes back.
_MIN_LENGTH: Final = 8
_MAX_LENGTH: Final = 4096  # some servers take no longer header
_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")


def secret_rules(name: str, hosts: object, private_hosts: Collection[str]) -> tuple[HostRule, ...]:
    """The hosts that it is for. Raises `ValueError`, with the reason in words."""
    if not _NAME.fullmatch(name):
        raise ValueError("its name is no name of lower-case letters, digits, - and _")
    # A text is a sequence of letters, none of which is the host that was meant.
    if not isinstance(hosts, list | tuple) or not hosts:
        raise ValueError('it names no host that it is for: hosts=("api.example.com",)')
    return tuple(HostRule.parse(host, allow_private=private_hosts) for host in hosts)


def check_secret_value(value: str) -> None:
    """Raises `ValueError`, which does not tell it."""
    if not _MIN_LENGTH <= len(value) <= _MAX_LENGTH or not _VALUE.fullmatch(value):
        raise ValueError(
            f"its value must be {_MIN_LENGTH} to {_MAX_LENGTH} printable ASCII characters, "
            "without a space at an end"
        )
