"""The one way out: a name is resolved once, its addresses are judged, and one of them is dialled.

What is connected to is the address that was judged, so a name that changes its address in between
(rebinding) changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import anyio
from anyio.abc import SocketStream

from plughost.catalog.host_names import canonical_name
from plughost.errors import PlughostError
from plughost.units import format_seconds
from plughost_protocol import ErrorCode

from .addresses import Address, parse_address, refusal
from .resolver import Resolve

__all__ = ["CONNECT_TIMEOUT", "DialFailed", "DialRefused", "dial", "public_addresses"]

CONNECT_TIMEOUT: Final = 10.0  # what HTTP clients give a server, names and all addresses together
_MAX_ADDRESSES: Final = 8


class DialRefused(PlughostError):
    """Raised when a name must not be connected to. Nothing was sent.

    Not raised for a name that has no address, or whose server does not answer.
    """

    code = ErrorCode.PERMISSION_DENIED

    def __init__(self, name: str, port: int, reason: str) -> None:
        super().__init__(f"no connection to {name}:{port}: {reason}")
        self.name = name
        self.port = port
        self.reason = reason


class DialFailed(PlughostError):
    """Raised when there is no connection to be had: no address, or nobody who answers there."""

    def __init__(self, name: str, port: int, reason: str) -> None:
        super().__init__(f"no connection to {name}:{port}: {reason}")
        self.name = name
        self.port = port
        self.reason = reason


async def dial(
    name: str,
    port: int,
    *,
    resolver: Resolve,
    allow_private: Collection[str] = frozenset(),
    timeout: float = CONNECT_TIMEOUT,
) -> SocketStream:
    """A connection to one of the public addresses of `name`, tried in the resolver's order.

    `resolver` is one plugin's own, so that it can only hold up itself. `allow_private` holds the
    names, in lower case, that may lead to an inside address. `timeout` is seconds for all of it.
    Raises `DialRefused` or `DialFailed`.
    """
    with anyio.move_on_after(timeout) as scope:
        addresses = await public_addresses(
            name, port, resolver=resolver, allow_private=allow_private
        )
        return await _first_that_answers(name, port, addresses, scope.deadline)
    raise DialFailed(name, port, f"nothing within {format_seconds(timeout)}")


async def public_addresses(
    name: str,
    port: int,
    *,
    resolver: Resolve,
    allow_private: Collection[str] = frozenset(),
) -> list[Address]:
    """The addresses of `name` that may be dialled, at least one. Raises as `dial` does."""
    try:
        name = canonical_name(name, allow_private=allow_private)
    except ValueError as exc:
        raise DialRefused(name, port, str(exc)) from exc
    try:
        answers = await resolver(name, port)
    except OSError as exc:
        raise DialFailed(name, port, f"the name was not found: {exc.strerror or exc}") from exc
    reasons = {text: refusal(text, allow_private=name in allow_private) for text in answers}
    # A dict keeps the order, and drops an address that came twice.
    allowed = [parse_address(text) for text, reason in reasons.items() if reason is None]
    if not answers:
        raise DialFailed(name, port, "the name has no address")
    if not allowed:
        raise DialRefused(name, port, _in_words(reasons))
    return allowed[:_MAX_ADDRESSES]


def _in_words(reasons: Mapping[str, str | None]) -> str:
    text, reason = next(iter(reasons.items()))
    if refusal(text, allow_private=True) is None:
        return f"{reason}; the operator can allow inside addresses for this name"
    return f"{reason}"


async def _first_that_answers(
    name: str, port: int, addresses: Sequence[Address], end: float
) -> SocketStream:
    last = ""
    for tried, address in enumerate(addresses):
        # An even share of what is left, so that one dead address does not use up the time.
        share = (end - anyio.current_time()) / (len(addresses) - tried)
        last = f"{address} did not answer"
        with anyio.move_on_after(share):
            try:
                return await anyio.connect_tcp(str(address), port)
            except OSError as exc:
                cause = exc.__cause__ if isinstance(exc.__cause__, OSError) else exc
                last = f"{address}: {cause.strerror or cause}"
    raise DialFailed(name, port, last)
