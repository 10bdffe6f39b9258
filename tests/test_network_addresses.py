"""The addresses that are never dialled."""

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plughost.network.addresses import BLOCKED, refusal

FIRST_AND_LAST = [
    str(blocked.network[end])
    for blocked in BLOCKED
    for end in (0, blocked.network.num_addresses - 1)
]


@pytest.mark.parametrize("address", FIRST_AND_LAST)
def test_both_ends_of_every_blocked_range_are_refused(address: str) -> None:
    assert refusal(address) is not None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("169.254.169.254", "metadata"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::ffff:0:127.0.0.1", "outside the global unicast range"),
        ("64:ff9b::a9fe:a9fe", "NAT64"),
        ("64:ff9b:1::7f00:1", "NAT64"),
        ("2002:7f00:1::", "6to4"),
        ("2001::7f00:1", "Teredo"),
        ("fec0::1", "site-local"),
        ("192.88.99.1", "6to4 relay"),
        ("100.64.0.1", "CGNAT"),
        ("fd00:ec2::254", "metadata"),
        ("4000::1", "outside the global unicast range"),
        ("fe80::1%lo", "zone id"),
        ("2606:4700::1%1", "zone id"),
        ("not an address", "does not appear to be"),
        ("0177.0.0.1", "does not appear to be"),
        ("2130706433", "does not appear to be"),
    ],
)
def test_the_reason_is_told(address: str, reason: str) -> None:
    assert reason in (refusal(address) or "")


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "::ffff:1.1.1.1", "2606:4700::1111", "2a00:1450::1"]
)
def test_public_addresses_pass(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "fd12::1", "::1"])
def test_an_operator_can_allow_inside_addresses(address: str) -> None:
    assert refusal(address) is not None
    assert refusal(address, allow_private=True) is None


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "224.0.0.1", "0.0.0.0", "2002::1"],
)
def test_nobody_can_allow_metadata_and_multicast(address: str) -> None:
    assert refusal(address, allow_private=True) is not None


@given(st.ip_addresses())
def test_what_python_calls_not_global_is_never_dialled(address: object) -> None:
    judged = ip_address(str(address))
    if not judged.is_global:
        assert refusal(judged) is not None


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_inside(address: IPv4Address) -> None:
    assert refusal(f"::ffff:{address}") == refusal(address)


@given(st.text())
def test_any_text_has_a_verdict(text: str) -> None:
    refusal(text)
