"""What a worker's namespace must hold for its grants."""

import pytest

from plughost.catalog.host_names import HostRule
from plughost.errors import HostMisuse
from plughost.network.limits import NetworkLimits
from plughost.network.plan import NetworkPlan, network_plan
from plughost.pace import Pace
from plughost_protocol.confinement import Listener


def plan(*rules: str) -> NetworkPlan:
    return network_plan(HostRule.parse(rule) for rule in rules)


def test_exact_names_stand_in_the_hosts_file_and_need_no_lookup() -> None:
    planned = plan("b.example.com", "a.example.com:5432", "a.example.com:443")
    assert planned.hosts.splitlines() == [
        "127.0.0.1 localhost",
        "127.64.0.1 a.example.com",
        "127.64.0.2 b.example.com",
    ]
    assert planned.nsswitch_conf == "hosts: files\n"
    assert planned.connect_ports == (80, 443, 3128, 5432)
    assert planned.listeners == (
        Listener("tcp", "0.0.0.0", 80),
        Listener("tcp", "0.0.0.0", 443),
        Listener("tcp", "127.0.0.1", 3128),
        Listener("tcp", "0.0.0.0", 5432),
    )


def test_wildcards_need_a_name_server() -> None:
    planned = plan("*.example.com:443")
    assert planned.hosts == "127.0.0.1 localhost\n"
    assert planned.resolv_conf.startswith("nameserver 127.0.0.1\n")
    assert planned.nsswitch_conf == "hosts: files dns\n"
    assert Listener("udp", "127.0.0.1", 53) in planned.listeners
    assert planned.connect_ports == (443, 3128)


def test_a_granted_port_of_the_proxy_shares_its_socket() -> None:
    assert plan("a.example.com:3128").listeners == (Listener("tcp", "0.0.0.0", 3128),)


def test_without_rules_there_is_nothing_to_connect_to() -> None:
    planned = plan()
    assert not planned.listeners
    assert not planned.connect_ports


def test_too_many_ports_are_refused() -> None:
    with pytest.raises(HostMisuse, match="65 ports"):
        plan(*(f"a.example.com:{port}" for port in range(1, 66)))


def test_limits_refuse_nonsense() -> None:
    with pytest.raises(HostMisuse, match=r"NetworkLimits\.connections must be more than 0"):
        NetworkLimits(connections=0)


def test_a_pace_lets_a_burst_through_and_then_so_many_a_second() -> None:
    pace = Pace(per_second=10, burst=3)
    assert [pace.take(100.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.1)]
    assert pace.take(100.05) == pytest.approx(0.05)
    assert pace.take(100.11) == 0
    assert pace.take(100.12) > 0
    assert [pace.take(200.0) > 0 for _ in range(4)] == [False, False, False, True]
