"""Attacks on what a granted host name opens: the proxy, the names, the sockets."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from . import network
from .attack import Aim, Attack, Attempt, Control, Group, Section
from .listeners import Listener
from .proofs import reached
from .range import GRANTED_NAME, REBINDING_NAME, Range

__all__ = ["GRANTED_HOST", "PROXY"]

PROXY: Final = Section(Group.PROXY)

_PROXY: Final = ("127.0.0.1", 3128)
"""Where a worker that is granted a host finds the host's proxy."""
_HOST: Final[dict[str, Any]] = {"grants": ("host", "rebinding"), "control": Control.BARE}
_STOPPED: Final = "proxy"


def _target(at: Range, listener: Listener) -> dict[str, Any]:
    return {
        "proxy": _PROXY,
        "naive": ("127.0.0.1", at.naive_proxy.port),
        "word": listener.word,
        "granted_authority": f"{GRANTED_NAME}:{at.granted_server.port}",
        "authorities": [f"127.0.0.1:{listener.port}"],
    }


def _secret(at: Range, hosts: Sequence[str] = (), **more: Any) -> Aim:
    """A server on this machine that was not granted, by other names for it."""
    listener = at.web_server()
    authorities = [f"{host}:{listener.port}" for host in hosts]
    target = _target(at, listener) | ({"authorities": authorities} if hosts else {})
    return Aim(target | more, reached(listener))


@PROXY.attack("has the proxy connect to an address", _STOPPED, **_HOST)
def reach_by_plain_address(at: Range) -> Aim:
    return _secret(at, ["127.0.0.1", "0.0.0.0", "localhost"])  # noqa: S104 - that is the attack


@PROXY.attack("has it connect to an address that is written as one number", _STOPPED, **_HOST)
def reach_by_decimal_address(at: Range) -> Aim:
    return _secret(at, ["2130706433"])


@PROXY.attack("writes the address in hexadecimal", _STOPPED, **_HOST)
def reach_by_hexadecimal_address(at: Range) -> Aim:
    return _secret(at, ["0x7f000001", "0x7f.0.0.1"])


@PROXY.attack("writes the address in octal, or shorter", _STOPPED, **_HOST)
def reach_by_octal_address(at: Range) -> Aim:
    return _secret(at, ["0177.0.0.1", "017700000001", "127.1"])


@PROXY.attack("writes the address as an IPv6 one", _STOPPED, **_HOST)
def reach_by_mapped_address(at: Range) -> Aim:
    return _secret(at, ["[::ffff:127.0.0.1]", "[::ffff:7f00:1]"])


@PROXY.attack("writes the address as NAT64 does", _STOPPED, **_HOST)
def reach_by_nat64_address(at: Range) -> Aim:
    return _secret(at, ["[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]"])


@PROXY.attack("has it connect to a name that was not granted", _STOPPED, **_HOST)
def reach_another_name(at: Range) -> Aim:
    return _secret(at, ["other.example.org", "example.org.example.org"])


@PROXY.attack("has it connect to a name that looks like the granted one", _STOPPED, **_HOST)
def reach_a_name_that_looks_alike(at: Range) -> Aim:
    return _secret(
        at,
        [
            f"{GRANTED_NAME}.evil.example.org",
            f"evil{GRANTED_NAME}",
            f"{GRANTED_NAME}%00.example.org",
            f"{GRANTED_NAME}#.example.org",
        ],
    )


@PROXY.attack("has it connect to another port of the granted name", _STOPPED, **_HOST)
def reach_another_port(at: Range) -> Aim:
    return _secret(at, [GRANTED_NAME])


@PROXY.attack("puts the granted name in front of an @", _STOPPED, **_HOST)
def reach_by_user_information(at: Range) -> Aim:
    port = at.granted_server.port
    return _secret(at, [f"{GRANTED_NAME}@127.0.0.1", f"{GRANTED_NAME}:{port}@127.0.0.1"])


@PROXY.attack("lets a granted name lead to this machine (rebinding)", _STOPPED, **_HOST)
def reach_by_rebinding(at: Range) -> Aim:
    listener = at.rebinding_server
    target = _target(at, listener) | {"name": REBINDING_NAME, "port": listener.port}
    return Aim(target, reached(listener))


@PROXY.attack("hides a second request behind one that is granted", _STOPPED, **_HOST)
def smuggle_a_second_request(at: Range) -> Aim:
    return _secret(at)


@PROXY.attack("names another host in the header than in the request", _STOPPED, **_HOST)
def name_another_host_in_the_header(at: Range) -> Aim:
    return _secret(at)


@PROXY.attack("follows a redirect from a granted server", _STOPPED, **_HOST)
def follow_a_redirect(at: Range) -> Aim:
    listener = at.web_server()
    at.granted_server.redirect_to(f"http://127.0.0.1:{listener.port}/{listener.word}")
    return Aim(_target(at, listener), reached(listener))


@PROXY.attack("names another host in the first words of TLS", _STOPPED, **_HOST)
def name_another_host_in_tls(at: Range) -> Aim:
    server = at.granted_server
    word = secrets.token_hex(8)
    target = _target(at, server) | {"tls_name": f"{word}.example.org"}

    def proof(_: Attempt) -> str:
        return f"the server was sent the name {word}" if server.was_sent(word) else ""

    return Aim(target, proof)


def _again(attack: Attack, where: str, by: str, **more: Any) -> None:
    """The same attack with a grant, which leaves out parts of what stops it otherwise."""
    name = f"{attack.name}-where-{where}-granted"
    again = replace(attack, name=name, stopped_by=tuple(by.split()), **more)
    PROXY.attacks.append(again)


for _attack, _by in (
    (network.connect_to_loopback, "namespaces landlock"),
    (network.connect_to_machine_address, "namespaces landlock"),
    (network.connect_by_ipv6, "namespaces landlock seccomp"),
    (network.connect_by_multipath_tcp, "namespaces seccomp"),
    (network.connect_by_fast_open, "namespaces seccomp"),
    (network.send_udp, "namespaces"),
    (network.leak_by_dns_question, "namespaces"),
    (network.connect_to_unix_socket, "mounts seccomp"),
    (network.send_from_a_socket_pair, "mounts seccomp"),
    (network.connect_to_abstract_socket, "namespaces landlock seccomp"),
    (network.read_interfaces_by_netlink, "seccomp"),
    (network.open_raw_socket, "capabilities seccomp"),
    (network.open_packet_socket, "capabilities seccomp"),
    (network.open_vsock, "seccomp"),
    (network.listen_for_connections, "namespaces landlock seccomp"),
):
    # Without namespaces, a host that grants a name starts no plugin at all.
    _again(_attack, "a-host-is", _by, **_HOST, group=Group.PROXY)
    del _attack, _by


def _aim_at_what_is_granted(at: Range) -> Aim:
    server = at.granted_server
    target = _target(at, server)
    return Aim(target | {"authorities": [target["granted_authority"]]}, reached(server))


GRANTED_HOST: Final = Attack(
    "reach-what-is-granted", Group.PROXY, "connects to what it was granted", (_STOPPED,),
    _aim_at_what_is_granted, **_HOST,
)  # fmt: skip
"""No attack: it must succeed, or the others prove nothing. For the tests."""
