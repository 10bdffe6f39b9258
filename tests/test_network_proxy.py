"""Request heads at the proxy: one meaning, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost.network.proxy import BadRequest, read_request, refusal_text


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def test_connect_names_a_host_and_a_port() -> None:
    request = read_request(head("CONNECT API.example.com.:443 HTTP/1.1", "Host: else:1"))
    assert (request.name, request.port, request.is_tunnel) == ("api.example.com", 443, True)


def test_a_plain_request_is_rewritten_for_its_server() -> None:
    request = read_request(
        head(
            "POST http://API.example.com:8080/path?q=http://x/ HTTP/1.1",
            "Host: internal.example.org",
            "HOST: another",
            "Content-Length: 5",
            "Proxy-Authorization: Basic c2VjcmV0",
            "Connection: keep-alive, X-Hop",
            "X-Hop: 1",
            "X-Kept: a:b",
        )
    )
    assert (request.name, request.port, request.body_length) == ("api.example.com", 8080, 5)
    assert request.head == head(
        "POST /path?q=http://x/ HTTP/1.1",
        "host: api.example.com:8080",
        "content-length: 5",
        "x-kept: a:b",
        "connection: close",
    )


def test_a_url_without_a_path_asks_for_the_root() -> None:
    assert read_request(head("GET http://a.example HTTP/1.1")).head.startswith(
        b"GET / HTTP/1.1\r\n"
    )


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("CONNECT 127.0.0.1:80 HTTP/1.1"), 400),
        (head("CONNECT 2130706433:80 HTTP/1.1"), 400),
        (head("CONNECT 0x7f000001:80 HTTP/1.1"), 400),
        (head("CONNECT 0177.0.0.1:80 HTTP/1.1"), 400),
        (head("CONNECT [::1]:80 HTTP/1.1"), 400),
        (head("CONNECT [::ffff:169.254.169.254]:80 HTTP/1.1"), 400),
        (head("CONNECT [64:ff9b::a9fe:a9fe]:80 HTTP/1.1"), 400),
        (head("CONNECT good.example.com@evil.example:443 HTTP/1.1"), 400),
        (head("CONNECT user:pw@good.example.com:443 HTTP/1.1"), 400),
        (head("CONNECT api.example.com HTTP/1.1"), 400),
        (head("CONNECT api.example.com:443 HTTP/2"), 400),
        (head("CONNECT api.example.com:443"), 400),
        (head("CONNECT  api.example.com:443 HTTP/1.1"), 400),
        (head("CONNECT\tapi.example.com:443\tHTTP/1.1"), 400),
        (head("connect api.example.com:443 HTTP/1.1"), 400),
        (head("CONNECT api.example.com:443 HTTP/1.1", "Content-Length: 5"), 400),
        (head("CONNECT api.example.com:443 HTTP/1.1", "Transfer-Encoding: chunked"), 501),
        (head("GET / HTTP/1.1", "Host: api.example.com"), 405),
        (head("GET https://api.example.com/ HTTP/1.1"), 405),
        (head("GET ftp://api.example.com/ HTTP/1.1"), 405),
        (head("GET http://a@api.example.com/ HTTP/1.1"), 400),
        (head("GET http://169.254.169.254/ HTTP/1.1"), 400),
        (head("GET http:///path HTTP/1.1"), 400),
        (head("GET http://api.example.com?q HTTP/1.1"), 400),
        (head("GET http://api.example.com/#part HTTP/1.1"), 400),
        (head("GET http://api.example.com/\rX HTTP/1.1"), 400),
        (head("GET http://api.example.com/\n HTTP/1.1"), 400),
        (head("GET http://api.example.com/\xff HTTP/1.1"), 400),
        (head("GET http://a.example/ HTTP/1.1", "Content-Length: 5", "Content-Length: 6"), 400),
        (head("GET http://a.example/ HTTP/1.1", "Content-Length: 5, 5"), 400),
        (head("GET http://a.example/ HTTP/1.1", "Content-Length: +5"), 400),
        (head("GET http://a.example/ HTTP/1.1", "Content-Length: 0x5"), 400),
        (head("GET http://a.example/ HTTP/1.1", "Content-Length: -1"), 400),
        (head("GET http://a.example/ HTTP/1.1", "Content-Length: " + "9" * 16), 400),
        (head("GET http://a.example/ HTTP/1.1", "Transfer-Encoding : chunked"), 400),
        (head("GET http://a.example/ HTTP/1.1", "Transfer-Encoding: identity"), 501),
        (head("GET http://a.example/ HTTP/1.1", "X: a", " folded"), 400),
        (head("GET http://a.example/ HTTP/1.1", "X: a\nTransfer-Encoding: chunked"), 400),
        (head("GET http://a.example/ HTTP/1.1", "X: a\rY: b"), 400),
        (head("GET http://a.example/ HTTP/1.1", "X: a\0b"), 400),
        (head("GET http://a.example/ HTTP/1.1", "no header"), 400),
        (head("GET http://a.example/ HTTP/1.1", ": empty"), 400),
    ],
)
def test_what_could_mean_two_things_or_an_address_is_refused(
    request_head: bytes, status: int
) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(request_head)
    assert refused.value.status == status


@given(
    st.binary(max_size=200)
    | st.text("CONETG htp:/1.0@[]\r\n-a", max_size=80).map(lambda text: text.encode())
    | st.text(max_size=40).map(lambda text: f"GET http://{text} HTTP/1.1\r\n\r\n".encode())
)
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        request = read_request(data)
    except BadRequest as exc:
        refusal_text(exc.status, str(exc)).decode("ascii")
    else:
        assert request.head.count(b"\r\n\r\n") == (0 if request.is_tunnel else 1)


@given(st.text(max_size=100))
def test_a_reason_cannot_add_to_the_answer(reason: str) -> None:
    answer = refusal_text(403, reason)
    sent_head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in sent_head + b"\r\n"
