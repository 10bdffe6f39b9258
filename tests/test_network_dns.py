"""Name queries: what is answered, what is dropped, and that names are bounded."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost.catalog.host_names import HostRule
from plughost.network.dns import BadQuery, answer, read_question
from plughost.network.synthetic import SyntheticNames

ADDRESS = IPv4Address("127.64.0.1")
A, AAAA, TXT = 1, 28, 16


def query(
    name: str, kind: int = A, *, flags: int = 0x0100, counts: bytes = b"\0\1" + bytes(6)
) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    return b"\xab\xcd" + flags.to_bytes(2) + counts + labels + b"\0" + kind.to_bytes(2) + b"\0\1"


def reply(name: str, kind: int, address: IPv4Address | None) -> bytes:
    return answer(read_question(query(name, kind)), address)


def test_a_known_name_has_its_address() -> None:
    answered = reply("a.example.com", A, ADDRESS)
    assert answered[:4] == b"\xab\xcd\x81\x80"
    assert answered[4:12] == b"\0\1\0\1\0\0\0\0"
    assert answered.endswith(b"\0\4" + ADDRESS.packed)


def test_a_known_name_has_no_other_records() -> None:
    for kind in (AAAA, TXT):
        answered = reply("a.example.com", kind, ADDRESS)
        assert answered[2:4] == b"\x81\x80"
        assert answered[6:8] == b"\0\0"


def test_an_unknown_name_does_not_exist() -> None:
    assert reply("evil.example.org", A, None)[2:4] == b"\x81\x83"


EDNS = b"\0\1\0\0\0\0\0\1"


def test_a_query_with_edns_is_answered() -> None:
    packet = query("a.example.com", counts=EDNS) + b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    assert read_question(packet).name == "a.example.com"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 12,
        query("a.example.com")[:-1],
        query("a.example.com")[:20],
        query("a.example.com", flags=0x8100),
        query("a.example.com", flags=0x2900),
        query("a.example.com", flags=0x0200),
        query("a.example.com", counts=bytes(8)),
        query("a.example.com", counts=b"\0\2" + bytes(6)),
        query("a.example.com", counts=b"\0\1\0\1" + bytes(4)),
        query("a.example.com")[:12] + b"\xc0\x0c\0\1\0\1",
        query("a.example.com")[:12] + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
        query("a.example.com")[:12] + b"\3a.b\0\0\1\0\1",
        query("a.example.com")[:12] + b"\2\xc3\xbc\0\0\1\0\1",
        query("a.example.com")[:-2] + b"\0\3",
        query(".".join(["a" * 63] * 5)),
        query("a.example.com") + bytes(600),
    ],
)
def test_what_is_no_plain_question_is_dropped(packet: bytes) -> None:
    with pytest.raises(BadQuery):
        read_question(packet)


@given(st.binary(max_size=600) | st.binary(max_size=100).map(lambda tail: query("a")[:12] + tail))
def test_no_packet_breaks_the_reader(packet: bytes) -> None:
    try:
        question = read_question(packet)
    except BadQuery:
        return
    assert len(answer(question, ADDRESS)) <= 600


def names(*rules: str, looked_up: int = 1024) -> SyntheticNames:
    return SyntheticNames([HostRule.parse(rule) for rule in rules], looked_up=looked_up)


def test_each_name_has_an_address_of_its_own_that_stays() -> None:
    book = names("b.example.com", "a.example.com", "*.example.org")
    assert book.address_of("a.example.com") == IPv4Address("127.64.0.1")
    assert book.address_of("B.example.com.") == IPv4Address("127.64.0.2")
    assert book.address_of("X.example.org") == IPv4Address("127.64.0.3")
    assert book.address_of("x.example.org") == IPv4Address("127.64.0.3")
    assert book.name_of("127.64.0.3") == "x.example.org"
    assert book.name_of("127.64.0.4") is None
    assert book.name_of("127.0.0.1") is None


@pytest.mark.parametrize(
    "name",
    ["example.org", "evil-example.org", "x.example.org.evil.com", "127.0.0.1", "", "*.example.org"],
)
def test_a_name_without_a_rule_has_no_address(name: str) -> None:
    assert names("*.example.org").address_of(name) is None


def test_names_under_a_wildcard_are_bounded() -> None:
    book = names("a.example.com", "*.example.org", looked_up=3)
    found = [book.address_of(f"{label}.example.org") for label in range(100)]
    assert [address is not None for address in found] == [True] * 3 + [False] * 97
    assert book.address_of("0.example.org") == found[0]
    assert book.address_of("a.example.com") is not None
