"""Answers to a worker's DNS queries: names that it may connect to, and nothing else.

No query goes outside, so labels carry nothing there: a name is resolved when it is connected to.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

__all__ = ["MAX_PACKET", "BadQuery", "Question", "answer", "read_question"]

MAX_PACKET: Final = 512  # RFC 1035, section 2.3.4: what fits without EDNS, and every query does

_HEADER: Final = 12
_A: Final = 1
_INTERNET: Final = 1
_TTL: Final = 60  # seconds; an address keeps its name as long as the worker lives

_RESPONSE: Final = 0x8000
_OPCODE: Final = 0x7800
_TRUNCATED: Final = 0x0200
_RECURSION_DESIRED: Final = 0x0100
_RECURSION_AVAILABLE: Final = 0x0080
_NOT_FOUND: Final = 3


class BadQuery(ValueError):
    """Raised for a packet that is no plain question. It gets no answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """The one question of a query."""

    id: int
    name: str
    """As asked, without the last dot; not checked beyond that it is ASCII without dots inside."""
    type: int
    flags: int
    wire: bytes
    """The question section, to be sent back."""


def read_question(packet: bytes) -> Question:
    """Raises `BadQuery` for everything but one question of class IN."""
    if not _HEADER < len(packet) <= MAX_PACKET:
        raise BadQuery(f"a query of {len(packet)} bytes")
    flags, questions, answers, authorities, extras = (
        int.from_bytes(packet[at : at + 2]) for at in range(2, _HEADER, 2)
    )
    if flags & (_RESPONSE | _OPCODE | _TRUNCATED):
        raise BadQuery("not a query")
    # The one extra record is EDNS, which promises and asks nothing that is needed here.
    if (questions, answers, authorities) != (1, 0, 0) or extras > 1:
        raise BadQuery("not exactly one question")
    name, at = _read_name(packet)
    if len(packet) < at + 4 or int.from_bytes(packet[at + 2 : at + 4]) != _INTERNET:
        raise BadQuery("not a question of class IN")
    return Question(
        id=int.from_bytes(packet[:2]),
        name=name,
        type=int.from_bytes(packet[at : at + 2]),
        flags=flags,
        wire=packet[_HEADER : at + 4],
    )


def answer(question: Question, address: IPv4Address | None) -> bytes:
    """The reply: an A record, no record for other types of a known name, or NXDOMAIN."""
    record = b""
    if address is not None and question.type == _A:
        # 0xC00C points back to the name in the question.
        fixed = b"\xc0\x0c" + _two(_A) + _two(_INTERNET) + _TTL.to_bytes(4) + _two(4)
        record = fixed + address.packed
    flags = _RESPONSE | _RECURSION_AVAILABLE | (question.flags & _RECURSION_DESIRED)
    if address is None:
        flags |= _NOT_FOUND
    counts = _two(1) + _two(1 if record else 0) + _two(0) + _two(0)
    return _two(question.id) + _two(flags) + counts + question.wire + record


def _read_name(packet: bytes) -> tuple[str, int]:
    """The name in the question, and where it ends."""
    labels: list[str] = []
    at = _HEADER
    while at < len(packet):
        length = packet[at]
        at += 1
        if length == 0:
            return ".".join(labels), at
        # 63 is the longest label; what is above is a pointer, and there is nothing to point to.
        if length > 63 or at + length >= len(packet) or at + length - _HEADER > 254:
            break
        label = packet[at : at + length]
        if not label.isascii() or b"." in label:
            break
        labels.append(label.decode("ascii"))
        at += length
    raise BadQuery("not a host name")


def _two(number: int) -> bytes:
    return number.to_bytes(2)
