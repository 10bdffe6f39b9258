"""URLs, headers, encodings and secrets: what the http service is made of, without a connection."""

import base64
import contextlib
import gzip
import html
import json
import tracemalloc
import zlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost import HostMisuse, PluginConfig, Secret
from plughost.services.http.decode import PIECE, decoder_for
from plughost.services.http.headers import MAX_HEADERS, check_headers
from plughost.services.http.secrets import SecretBox, SecretRefused
from plughost.services.http.url import MAX_URL, parse_url, redirect_url
from plughost_sdk import HttpResponse

# URLs


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("https://api.example.com", "https://api.example.com/"),
        ("HTTPS://API.Example.COM./a?b=c#d", "https://api.example.com/a?b=c"),
        ("https://api.example.com:443/", "https://api.example.com/"),
        ("http://api.example.com:8080?q", "http://api.example.com:8080/?q"),
        ("http://localhost:8000/", "http://localhost:8000/"),
        ("https://api.example.com/caf\u00e9?\u00fc={x}", "https://api.example.com/caf%C3%A9?%C3%BC=%7Bx%7D"),
        ("https://xn--bcher-kva.example/%2F%zz", "https://xn--bcher-kva.example/%2F%zz"),
        ("https://api.example.com/..//a;b", "https://api.example.com/..//a;b"),
    ],
)  # fmt: skip
def test_a_url_has_one_form(text: str, form: str) -> None:
    url = parse_url(text)
    assert str(url) == form
    assert parse_url(form) == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no URL"),
        ("api.example.com/path", "no URL"),
        ("//api.example.com/", "no URL"),
        ("https:/api.example.com/", "no URL"),
        ("ftp://api.example.com/", "no scheme"),
        ("file:///etc/passwd", "no scheme"),
        ("gopher://api.example.com/", "no scheme"),
        ("javascript:alert(1)", "no scheme"),
        ("https://", "1 to 253 characters"),
        ("https:///etc", "1 to 253 characters"),
        ("https://user@api.example.com/", "no user"),
        ("https://user:word@api.example.com/", "no user"),
        ("https://api.example.com@127.0.0.1/", "no user"),
        ("https://127.0.0.1/", "address"),
        ("https://127.1/", "address"),
        ("https://2130706433/", "address"),
        ("https://0x7f000001/", "address"),
        ("https://0177.0.0.1/", "address"),
        ("https://[::1]/", "address"),
        ("https://[::ffff:127.0.0.1]:80/", "address"),
        ("https://::1/", "address"),
        ("https://b\u00fccher.example/", "write xn--bcher-kva.example"),
        ("https://\u2460\u2461\u2466.0.0.1/", "not plain ASCII"),
        ("https://api\u3002example.com/", "not plain ASCII"),
        ("https://api.example.com\\@evil.example/", r"\\"),
        ("https://api.example.com/a b", "%20"),
        ("https://api.example.com/\r\nX: y", "percent-encode"),
        ("https://api.example.com/\0", "percent-encode"),
        ("https://api.exam\tple.com/", "percent-encode"),
        (" https://api.example.com/", "percent-encode"),
        ("https://api.example.com/\ud800", "half a character"),
        ("https://api.example.com:0/", "no port"),
        ("https://api.example.com:/", "no port"),
        ("https://api.example.com:65536/", "no port"),
        ("https://api.example.com:443:443/", "address"),
        ("https://api.example.com:25/", "another protocol"),
        ("https://api.example.com:22/", "another protocol"),
        ("https://api.example.com/" + "a" * MAX_URL, "at most"),
    ],
)
def test_what_is_no_url_for_a_plugin_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_url(text)


@given(st.text() | st.text("htps:/@.[]%\\ \tax1?#", max_size=60).map("https://".__add__))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        url = parse_url(text)
    except ValueError:
        return
    assert str(url).isascii()
    assert str(url).isprintable()
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "https://api.example.com/b"),
        ("b?c", "https://api.example.com/x/b?c"),
        ("//cdn.example.com/y", "https://cdn.example.com/y"),
        ("http://api.example.com/", "http://api.example.com/"),
        (" /a b ", "https://api.example.com/a%20b"),
    ],
)
def test_a_redirect_is_read_relative_to_where_it_came_from(location: str, target: str) -> None:
    assert str(redirect_url(parse_url("https://api.example.com/x/a"), location)) == target


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/", "file:///etc/passwd", "//user@evil.example/", "http://[::1]/"],
)
def test_a_redirect_to_what_is_no_url_is_refused(location: str) -> None:
    with pytest.raises(ValueError, match=r"address|scheme|user"):
        redirect_url(parse_url("https://api.example.com/"), location)


# Headers


@pytest.mark.parametrize(
    "name",
    [
        *("Host", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive", "TE"),
        *("Trailer", "Upgrade", "Expect", "Proxy-Authorization", "proxy-connection"),
        *("User-Agent", "Accept-Encoding", "Via"),
    ],
)
def test_headers_that_are_the_hosts_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is the host's to send"):
        check_headers([(name, "x")])


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\nb", "a\0", " a", "a ", "\u00e9", "a\x7f"])
def test_a_header_value_cannot_begin_another_header(value: str) -> None:
    with pytest.raises(ValueError, match="the value of the header X-Thing"):
        check_headers([("X-Thing", value)])


@pytest.mark.parametrize("name", ["", "a b", "a:", "Host ", "a\r\n", "\u00e9", "a" * 101])
def test_a_header_name_is_a_token(name: str) -> None:
    with pytest.raises(ValueError, match="no header's name"):
        check_headers([(name, "x")])


def test_headers_are_bounded_in_number_and_size() -> None:
    check_headers([("X-Thing", "x")] * MAX_HEADERS)
    with pytest.raises(ValueError, match="at most 100"):
        check_headers([("X-Thing", "x")] * (MAX_HEADERS + 1))
    with pytest.raises(ValueError, match="over the limit"):
        check_headers([("X-Thing", "x" * 40_000)])


# Content encodings

TEXT = b"".join(b"line %d\n" % number for number in range(8_000))
BARE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]) + b"\0" * 100),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", BARE.compress(TEXT) + BARE.flush()),
    ],
)
@pytest.mark.parametrize("cut", [1, 7, 16_384, 1_000_000])
def test_an_encoding_is_taken_off_however_it_is_cut(encoding: str, data: bytes, cut: int) -> None:
    decoder = decoder_for(encoding)
    pieces = [
        piece
        for start in range(0, len(data), cut)
        for piece in decoder.feed(data[start : start + cut])
    ]
    decoder.end()
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= PIECE


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "gzip;q=1"])
def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError, match="gzip, deflate is what was asked for"):
        decoder_for(encoding)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_damaged_and_short_data_is_told_from_whole(encoding: str) -> None:
    whole = gzip.compress(TEXT) if encoding == "gzip" else zlib.compress(TEXT)
    with pytest.raises(ValueError, match="ends too early"):
        _decode(encoding, whole[:-9])
    with pytest.raises(ValueError, match="damaged"):
        _decode(encoding, whole[:20] + b"\xff" * 20 + whole[40:])
    assert _decode(encoding, b"") == b""


def _decode(encoding: str, data: bytes) -> bytes:
    decoder = decoder_for(encoding)
    decoded = b"".join(decoder.feed(data))
    decoder.end()
    return decoded


def test_a_bomb_of_ten_gigabytes_is_decoded_a_piece_at_a_time() -> None:
    bomb = gzip.compress(bytes(100_000_000)) * 100
    pieces = decoder_for("gzip").feed(bomb)
    tracemalloc.start()
    try:
        for _ in range(1000):  # who reads it stops at the limit
            assert 0 < len(next(pieces)) <= PIECE
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * len(bomb) + 1_000_000


@given(st.sampled_from(["gzip", "deflate"]), st.binary(max_size=200))
def test_any_bytes_are_decoded_or_a_value_error(encoding: str, data: bytes) -> None:
    with contextlib.suppress(ValueError):
        _decode(encoding, data)


# Secrets

VALUE = 'ghp_aB3/+"x&y z~9'
SECRET = Secret(VALUE, hosts=("api.github.com",))
HERE = parse_url("https://api.github.com/user")


def box(**secrets: Secret) -> SecretBox:
    return SecretBox("demo", secrets or {"github": SECRET})


def test_a_secret_is_put_in_for_its_host_over_https() -> None:
    assert box().fill("Bearer {{secret:github}}", HERE) == f"Bearer {VALUE}"
    assert box().fill("{{ secret:github }}{{secret:github}}", HERE) == VALUE * 2
    assert box().fill("nothing {{here}}", HERE) == "nothing {{here}}"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://evil.example.com/", "not for evil.example.com:443"),
        ("https://evil-api.github.com/", "not for"),
        ("https://api.github.com.evil.com/", "not for"),
        ("https://github.com/", "not for"),
        ("https://api.github.com:8443/", "not for api.github.com:8443"),
        ("http://api.github.com/", "over https only"),
    ],
)
def test_a_secret_goes_nowhere_else(url: str, reason: str) -> None:
    with pytest.raises(SecretRefused, match=reason) as refused:
        box().fill("{{secret:github}}", parse_url(url))
    assert VALUE not in str(refused.value)


def test_a_secret_goes_over_plain_http_where_the_operator_says_so() -> None:
    secrets = box(inside=Secret(VALUE, hosts=("api.github.com:8080",), plain_http=True))
    url = parse_url("http://api.github.com:8080/")
    assert secrets.fill("{{secret:inside}}", url) == VALUE


def test_a_name_that_is_unknown_tells_no_other() -> None:
    for name in ("gitlab", "", "../github", "github}", "GITHUB"):
        with pytest.raises(SecretRefused, match=r"has no secret|PluginConfig\.secrets") as refused:
            box().fill(f"{{{{secret:{name.rstrip('}')}x}}}}", HERE)
        assert "'github'" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "secret", "reason"),
    [
        ("a b", SECRET, "its name"),
        ("x", Secret("short", hosts=("a.example.com",)), "8 to 4096"),
        ("x", Secret("two\r\nlines here", hosts=("a.example.com",)), "printable ASCII"),
        ("x", Secret("12345678 ", hosts=("a.example.com",)), "printable ASCII"),
        ("x", Secret("12345678\n", hosts=("a.example.com",)), "printable ASCII"),
        ("x", Secret("1234567\u00e9", hosts=("a.example.com",)), "printable ASCII"),
        ("x", Secret("12345678", hosts=()), "no host"),
        ("x", Secret("12345678", hosts="a.example.com"), "no host"),  # type: ignore[arg-type]
        ("x", Secret("12345678", hosts=("*",)), "too wide|whole first label"),
        ("x", Secret("12345678", hosts=("10.0.0.1",)), "address"),
    ],
)
def test_a_secret_that_cannot_be_is_refused_without_its_value(
    name: str, secret: Secret, reason: str
) -> None:
    with pytest.raises(HostMisuse, match=reason) as refused:
        SecretBox("demo", {name: secret})
    assert secret.value not in str(refused.value)


def test_a_secret_is_in_no_repr() -> None:
    shown = repr([SECRET, PluginConfig(secrets={"github": SECRET}), box(), box().redactor()])
    assert VALUE not in shown
    assert "ghp" not in shown


FORMS = {
    "as it is": VALUE,
    "in capitals": VALUE.upper(),
    "JSON": json.dumps({"header": VALUE}),
    "JSON with escaped slashes": json.dumps(VALUE).replace("/", "\\/"),
    "HTML": html.escape(VALUE),
    "a URL": quote(VALUE, safe=""),
    "a path": quote(VALUE),
    "hexadecimal": VALUE.encode().hex(),
    "base64 of user and secret": base64.b64encode(f"user:{VALUE}".encode()).decode(),
    "base64 of it": base64.b64encode(VALUE.encode()).decode(),
    "base64 behind two": base64.urlsafe_b64encode(f"ab{VALUE}!".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cut", [1, 3, 10, 1000])
def test_a_secret_is_taken_out_of_what_comes_back_however_it_is_cut(form: str, cut: int) -> None:
    data = f"before {FORMS[form]} after {FORMS[form]}".encode()
    redactor = box().redactor()
    pieces = [redactor.feed(data[start : start + cut]) for start in range(0, len(data), cut)]
    seen = b"".join([*pieces, redactor.end()])
    assert seen.count(b"[secret:github]") == 2
    assert seen.startswith(b"before ")
    assert b" after " in seen
    # What is left of a base64 form are the characters that it shares with its neighbours.
    assert not any(FORMS[form][start : start + 8].encode() in seen for start in (6, 8, 10))


def test_what_cannot_be_a_secret_is_given_out_at_once() -> None:
    redactor = box().redactor()
    assert redactor.feed(b"data: 1\n\n") == b"data: 1\n\n"
    assert redactor.feed(b"ends like gh") == b"ends like "
    assert redactor.feed(b"ost") == b"ghost"
    assert redactor.end() == b""


@given(st.lists(st.sampled_from([b"a", b"ghp_", VALUE.encode(), VALUE.encode()[:9], b"\xff"])))
def test_nothing_but_secrets_is_changed(parts: list[bytes]) -> None:
    redactor = box().redactor()
    seen = b"".join([*map(redactor.feed, parts), redactor.end()])
    assert seen == b"".join(parts).replace(VALUE.encode(), b"[secret:github]")
    assert VALUE.encode() not in seen


# What a plugin gets


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("text/plain; charset=latin-1", "\u00e9"),
        ('text/plain; a=b; Charset="latin-1"', "\u00e9"),
        ("text/plain", "\ufffd"),
        ("text/plain; charset=nonsense", "\ufffd"),
        ("text/plain; charset=hex", "\ufffd"),
        ("text/plain; charset=", "\ufffd"),
    ],
)
def test_text_is_read_in_its_character_set_where_there_is_one(kind: str, text: str) -> None:
    answer = {"status": 200, "headers": [["Content-Type", kind]], "url": "https://a.example.com/"}
    response = HttpResponse(answer, 0.1, b"\xe9")
    assert response.text == text
    with pytest.raises(ValueError, match=r"malformed|truncated|invalid"):
        response.json()


def test_headers_are_found_in_any_case() -> None:
    pairs = [["Set-Cookie", "a=b, c"], ["X-A", "1"], ["set-cookie", "d"]]
    answer = {"status": 404, "headers": pairs, "url": "https://a.example.com/"}
    response = HttpResponse(answer, 0.1, b"")
    assert response.headers["SET-COOKIE"] == "a=b, c, d"
    assert response.headers.get_all("Set-Cookie") == ["a=b, c", "d"]
    assert dict(response.headers) == {"set-cookie": "a=b, c, d", "x-a": "1"}
    assert response.headers.get("x-b") is None
    assert repr(response) == "<HttpResponse 404 https://a.example.com/>"
