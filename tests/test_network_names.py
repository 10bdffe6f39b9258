"""Host names in grants: what is a name, what is too wide, what a rule allows."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost.catalog.host_names import HostRule, canonical_name


@pytest.mark.parametrize(
    ("text", "name", "ports"),
    [
        ("api.example.com", "api.example.com", (80, 443)),
        ("api.example.com:8443", "api.example.com", (8443,)),
        ("*.example.com", "*.example.com", (80, 443)),
        ("*.a.example.com:1", "*.a.example.com", (1,)),
        ("API.Example.COM.", "api.example.com", (80, 443)),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", (80, 443)),
        ("r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com", (80, 443)),
        ("3com.example", "3com.example", (80, 443)),
    ],
)
def test_a_rule_is_a_name_with_ports(text: str, name: str, ports: tuple[int, ...]) -> None:
    rule = HostRule.parse(text)
    assert (rule.name, rule.ports) == (name, ports)
    assert HostRule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "example.0x",
        "example.1",
        "127.0.0.1.",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:80",
        "::1",
        "[::ffff:169.254.169.254]:80",
        "::ffff:127.0.0.1",
        "fe80::1%eth0",
    ],
)
def test_an_address_in_any_notation_is_no_host(text: str) -> None:
    with pytest.raises(ValueError, match="is an address"):
        HostRule.parse(text)


@pytest.mark.parametrize(
    "text", ["*", "*.", "*.com", "*.com.", "*.co.uk", "*.com.au", "*:443", "*.localhost"]
)
def test_a_wildcard_over_half_the_world_is_too_wide(text: str) -> None:
    with pytest.raises(ValueError, match=r"too wide|whole first label|characters"):
        HostRule.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1 to 253 characters"),
        (".", "1 to 253 characters"),
        ("a..example.com", "no label"),
        (".example.com", "no label"),
        ("-a.example.com", "no label"),
        ("a-.example.com", "no label"),
        ("a_b.example.com", "no label"),
        ("a b.example.com", "no label"),
        ("a%2eexample.com", "one label|no label"),
        ("example.com..", "no label"),
        ("api.example.com\n", "no label"),
        ("api.example.com\0", "no label"),
        ("a" * 64 + ".example.com", "no label"),
        ("a." * 126 + "com", "1 to 253 characters"),
        ("https://example.com", "scheme"),
        ("example.com/path", "path"),
        ("good.example.com@evil.example", "user"),
        ("a.*.example.com", "no label"),
        ("api*.example.com", "no label"),
        ("*api.example.com", "whole first label"),
        ("*.*.example.com", "whole first label"),
        ("localhost", "one label"),
        ("example.com:", "no port"),
        ("example.com:0", "no port"),
        ("example.com:080", "no port"),
        ("example.com:65536", "no port"),
        ("example.com:+80", "no port"),
        ("example.com:*", "no port"),
        ("example.com:٤٤٣", "no port"),
        ("bücher.example", "write xn--bcher-kva.example"),
        ("аpple.example", "write xn--pple-43d.example"),  # noqa: RUF001 - a Cyrillic letter
        ("straße.example", "its xn-- form"),
        ("example。com", "not plain ASCII"),
        ("ｅxample.com", "not plain ASCII"),  # noqa: RUF001 - a wide letter
    ],
)
def test_what_is_no_host_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        HostRule.parse(text)


def test_a_name_of_one_label_needs_the_operator() -> None:
    assert HostRule.parse("localhost:8080", allow_private={"localhost"}).matches("LOCALHOST", 8080)
    with pytest.raises(ValueError, match="one label"):
        HostRule.parse("db:5432", allow_private={"localhost"})


@pytest.mark.parametrize(
    ("rule", "name", "port", "allowed"),
    [
        ("api.example.com", "api.example.com", 443, True),
        ("api.example.com", "API.EXAMPLE.COM.", 80, True),
        ("api.example.com", "api.example.com", 22, False),
        ("api.example.com:22", "api.example.com", 443, False),
        ("api.example.com", "evil-api.example.com", 443, False),
        ("example.com", "api.example.com", 443, False),
        ("example.com", "example.com.evil.org", 443, False),
        ("*.example.com", "a.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evil-example.com", 443, False),
        ("*.example.com", "a.example.com.evil.org", 443, False),
        ("*.example.com", "*.example.com", 443, False),
        ("*.example.com", ".example.com", 443, False),
        ("*.example.com", "a@b.example.com", 443, False),
        ("*.example.com", "a.example.com..", 443, False),
        ("*.example.com", "127.0.0.1", 443, False),
    ],
)
def test_a_rule_matches_its_names_on_its_ports(
    rule: str, name: str, port: int, allowed: bool
) -> None:
    assert HostRule.parse(rule).matches(name, port) is allowed


@pytest.mark.parametrize(
    ("granted", "asked", "covered"),
    [
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "*.api.example.com", True),
        ("*.example.com", "*.example.com:443", True),
        ("*.api.example.com", "*.example.com", False),
        ("api.example.com:443", "api.example.com", False),
        ("api.example.com", "api.example.com:443", True),
        ("*.example.com", "*.evil-example.com", False),
    ],
)
def test_a_grant_covers_what_is_within_it(granted: str, asked: str, covered: bool) -> None:
    assert HostRule.parse(granted).covers(HostRule.parse(asked)) is covered


ALPHABET = string.ascii_letters + string.digits + ".-*:@[]%_/ \n\0é。"


@given(st.text() | st.text(ALPHABET, max_size=300))
def test_any_text_is_a_rule_or_a_value_error(text: str) -> None:
    try:
        rule = HostRule.parse(text)
    except ValueError:
        return
    assert HostRule.parse(str(rule)) == rule
    assert rule.name.isascii()
    assert rule.name == rule.name.lower()
    assert canonical_name(rule.name.removeprefix("*.")) == rule.name.removeprefix("*.")


@given(st.text() | st.text(ALPHABET, max_size=300), st.integers())
def test_no_text_makes_matching_fail(name: str, port: int) -> None:
    allowed = HostRule.parse("*.example.com").matches(name, port)
    assert not allowed or name.lower().rstrip(".").endswith(".example.com")
