"""The name in a TLS hello, as real clients and liars send it."""

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost.network.tls import MAX_HELLO, BadHello, ClientHello, HelloReader, check_name


def real_hello(name: str | None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    if name is None:
        context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def block(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width) + data


def records(message: bytes, size: int = 2**14) -> bytes:
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + block(2, part) for part in parts)


def hello(*extensions: tuple[int, bytes]) -> bytes:
    """A handshake message with these extensions."""
    listed = b"".join(kind.to_bytes(2) + block(2, data) for kind, data in extensions)
    body = b"\x03\x03" + bytes(32) + block(1, b"") + block(2, b"\x13\x01") + block(1, b"\0")
    return b"\x01" + block(3, body + block(2, listed))


def sni(*names: bytes) -> tuple[int, bytes]:
    return 0, block(2, b"".join(b"\0" + block(2, name) for name in names))


def read(data: bytes) -> ClientHello | None:
    return HelloReader().feed(data)


@pytest.mark.parametrize("name", ["api.example.com", None])
def test_the_name_in_a_real_hello_is_found(name: str | None) -> None:
    assert read(real_hello(name)) == ClientHello(name, is_encrypted=False)


def test_a_hello_is_found_byte_by_byte_and_over_many_records() -> None:
    whole = records(real_hello("api.example.com")[5:], size=7)
    reader = HelloReader()
    answers = [reader.feed(whole[at : at + 1]) for at in range(len(whole))]
    assert answers[-1] == ClientHello("api.example.com", is_encrypted=False)
    assert not any(answers[:-1])


def test_bytes_behind_the_hello_do_not_matter() -> None:
    found = read(records(hello(sni(b"a.example.com"))) + b"whatever")
    assert found == ClientHello("a.example.com", is_encrypted=False)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x02\x01",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x01\x02",
        records(b"\x01\xff\xff\xff"),
        records(hello(sni(b"a.example.com", b"b.example.com"))),
        records(hello(sni())),
        records(hello(sni(b""))),
        records(hello(sni(b"a.example.com"), sni(b"b.example.com"))),
        records(hello((0, block(2, b"\x01" + block(2, b"a.example.com"))))),
        records(hello((0, b""))),
        records(hello(sni(b"b\xc3\xbccher.example"))),
        records(b"\x01" + block(3, b"\x03\x03" + bytes(32) + b"\xff")),
        records(b"\x01" + block(3, b"")),
        records(hello()[:4] + hello()[4:-2] + b"\xff\xff"),
        b"\x16\x03\x01" + block(2, hello()[:9]) + b"\x17",
    ],
)
def test_what_is_no_single_clear_hello_is_refused(data: bytes) -> None:
    with pytest.raises(BadHello):
        read(data)


def test_a_hello_in_endless_small_records_is_refused() -> None:
    reader = HelloReader()
    reader.feed(records(b"\x01" + (MAX_HELLO - 4).to_bytes(3)))
    at_most = 2 * MAX_HELLO // len(records(b"\0"))
    assert not any(reader.feed(records(b"\0")) for _ in range(at_most - 2))
    with pytest.raises(BadHello, match="no whole TLS hello"):
        reader.feed(records(b"\0\0\0", size=1))


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ([], "names no server"),
        ([sni(b"evil.example.org")], "names 'evil.example.org', not api.example.com"),
        ([sni(b"evil-api.example.com")], "not api.example.com"),
        ([sni(b"api.example.com.evil.org")], "not api.example.com"),
        ([sni(b"api.example.com.")], "not api.example.com"),
        ([sni(b"api.example.com\0.evil.org")], "not api.example.com"),
        ([sni(b"api.example.com"), (0xFE0D, b"\0")], "ECH"),
    ],
)
def test_a_hello_must_be_for_the_granted_name(
    extensions: list[tuple[int, bytes]], reason: str
) -> None:
    found = read(records(hello(*extensions)))
    assert found is not None
    with pytest.raises(BadHello, match=reason):
        check_name(found, "api.example.com")


def test_upper_case_is_the_same_name() -> None:
    found = read(real_hello("API.example.COM"))
    assert found is not None
    check_name(found, "api.example.com")


PIECES = st.lists(st.binary(max_size=40), max_size=20)


@given(PIECES, st.booleans())
def test_no_bytes_break_the_reader(pieces: list[bytes], in_records: bool) -> None:
    reader = HelloReader()
    with suppress(BadHello):
        for piece in pieces:
            reader.feed(records(piece) if in_records else piece)


@given(st.data())
def test_no_change_of_a_hello_breaks_the_reader(data: st.DataObject) -> None:
    changed = bytearray(records(hello(sni(b"api.example.com"), (10, b"\0\1"), (0xFE0D, b""))))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadHello):
        read(bytes(changed))
