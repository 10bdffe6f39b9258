"""Reaching anything by any kind of socket."""

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from contextlib import closing
from typing import Any, Final

from .native import Answer, call, check, hold, libc, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_TIMEOUT: Final = 2.0  # seconds; all servers are on this machine
_SOON: Final = 0.5  # seconds; what sends no answer has not been reached
_ENOUGH: Final = 4096
_IPPROTO_MPTCP: Final = 262
_MSG_FASTOPEN: Final = 0x20000000


def _talk(connection: socket.socket, word: str | bytes) -> str:
    connection.settimeout(_TIMEOUT)
    connection.sendall(word.encode() if isinstance(word, str) else word)
    answer = connection.recv(_ENOUGH)
    if not answer:
        raise ConnectionResetError(104, "hung up")
    return answer.decode(errors="replace")


def _connected(family: int, address: Any, word: str, protocol: int = 0) -> str:
    with socket.socket(family, socket.SOCK_STREAM, protocol) as connection:
        connection.settimeout(_TIMEOUT)
        connection.connect(address)
        return _talk(connection, word)


def _native(family: int, packed: bytes, word: str | bytes) -> str:
    """By system calls, past every wrapper."""
    fd = call("socket", family, socket.SOCK_STREAM, 0)
    with closing(socket.socket(fileno=fd)) as connection:
        call("connect", fd, packed, len(packed))
        return _talk(connection, word)


def _ipv4(host: str, port: int) -> bytes:
    return (
        struct.pack("=H", socket.AF_INET)
        + struct.pack("!H", port)
        + socket.inet_aton(host)
        + (b"\0" * 8)
    )


def _tcp_ipv4(target: Target) -> Answer:
    host, port, word = target["host"], target["port"], target["word"]

    return ways(
        python=lambda: _connected(socket.AF_INET, (host, port), word),
        native=lambda: _native(socket.AF_INET, _ipv4(host, port), word),
        mapped=lambda: _connected(socket.AF_INET6, (f"::ffff:{host}", port), word),
    )


connect_to_loopback = connect_to_machine_address = connect_to_any_address = _tcp_ipv4


def connect_by_ipv6(target: Target) -> Answer:
    word, address = target["word"], (target["host"], target["port"])
    packed = struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", target["port"], 0)
    packed += socket.inet_pton(socket.AF_INET6, target["host"]) + b"\0" * 4
    return ways(
        python=lambda: _connected(socket.AF_INET6, address, word),
        native=lambda: _native(socket.AF_INET6, packed, word),
    )


def connect_by_name(target: Target) -> Answer:
    def connect() -> str:
        address = (target["name"], target["port"])
        with socket.create_connection(address, _TIMEOUT) as connection:
            return _talk(connection, target["word"])

    return one_way(connect)


def connect_by_mapped_address(target: Target) -> Answer:
    address = (f"::ffff:{target['host']}", target["port"])
    return one_way(lambda: _connected(socket.AF_INET6, address, target["word"]))


def connect_by_multipath_tcp(target: Target) -> Answer:
    """No TCP connection, as far as Landlock's rules for TCP go."""
    address = (target["host"], target["port"])
    return one_way(lambda: _connected(socket.AF_INET, address, target["word"], _IPPROTO_MPTCP))


def connect_by_fast_open(target: Target) -> Answer:
    """A connection without connect(2)."""

    def send() -> str:
        with socket.socket() as connection:
            word = target["word"].encode()
            connection.sendto(word, _MSG_FASTOPEN, (target["host"], target["port"]))
            connection.settimeout(_TIMEOUT)
            return connection.recv(_ENOUGH).decode(errors="replace")

    return one_way(send)


def _datagrams(family: int, target: Target, data: bytes) -> Answer:
    address = (target["host"], target["port"])

    def send(connect: bool) -> str:
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_SOON)
            if connect:
                sender.connect(address)
                sender.send(data)
            else:
                sender.sendto(data, address)
            return sender.recv(_ENOUGH).decode(errors="replace")

    return ways(sendto=lambda: send(connect=False), connected=lambda: send(connect=True))


def send_udp(target: Target) -> Answer:
    return _datagrams(socket.AF_INET, target, target["word"].encode())


def send_udp_by_ipv6(target: Target) -> Answer:
    return _datagrams(socket.AF_INET6, target, target["word"].encode())


def leak_by_dns_question(target: Target) -> Answer:
    """What it wants to tell goes out in the name that it asks a name server for."""
    labels = (target["word"], "example", "org")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"
    question = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)
    return _datagrams(socket.AF_INET, target, question)


def _unix(address: str | bytes, word: str | bytes, kind: int = socket.SOCK_STREAM) -> str:
    with socket.socket(socket.AF_UNIX, kind) as connection:
        connection.settimeout(_TIMEOUT)
        connection.connect(address)
        return _talk(connection, word)


def _unix_stream(target: Target) -> Answer:
    path = target["path"]
    word = bytes.fromhex(target["frame"]) if "frame" in target else target["word"]
    packed = struct.pack("=H", socket.AF_UNIX) + path.encode() + b"\0"

    def through_descriptor() -> str:
        folder, name = os.path.split(path)
        handle = os.open(folder, os.O_PATH)
        try:
            return _unix(f"/proc/self/fd/{handle}/{name}", word)
        finally:
            os.close(handle)

    def by_pair() -> str:
        """One end of a pair needs no socket(2)."""
        first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with first, second:
            first.connect(path)
            return _talk(first, word)

    return ways(
        python=lambda: _unix(path, word),
        native=lambda: _native(socket.AF_UNIX, packed, word),
        descriptor=through_descriptor,
        pair=by_pair,
    )


connect_to_unix_socket = connect_to_control_socket = connect_to_management_socket = _unix_stream


def connect_to_seqpacket_socket(target: Target) -> Answer:
    return one_way(lambda: _unix(target["path"], target["word"], socket.SOCK_SEQPACKET))


def connect_to_abstract_socket(target: Target) -> Answer:
    address = b"\0" + target["name"].encode()
    return one_way(lambda: _unix(address, target["word"]))


def send_to_unix_datagram_socket(target: Target) -> Answer:
    path, word = target["path"], target["word"].encode()

    def from_socket() -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            return f"sent {sender.sendto(word, path)}"

    return one_way(from_socket)


def send_from_a_socket_pair(target: Target) -> Answer:
    """A pair of datagram sockets needs no socket(2), and sends to any path all the same."""
    path, word = target["path"], target["word"].encode()

    def from_pair(kind: int) -> str:
        first, second = socket.socketpair(socket.AF_UNIX, kind)
        with first, second:
            return f"sent {first.sendto(word, path)}"

    def native() -> str:
        pair = (ctypes.c_int * 2)()
        call("socketpair", socket.AF_UNIX, socket.SOCK_DGRAM, 0, pair)
        packed = struct.pack("=H", socket.AF_UNIX) + path.encode() + b"\0"
        try:
            return f"sent {call('sendto', pair[0], word, len(word), 0, packed, len(packed))}"
        finally:
            os.close(pair[0])
            os.close(pair[1])

    return ways(python=lambda: from_pair(socket.SOCK_DGRAM), native=native)


def _opened(family: int, kind: int, protocol: int = 0) -> Callable[[], str]:
    def open_it() -> str:
        fd = call("socket", family, kind, protocol)
        hold(lambda: os.close(fd))
        return f"socket({family}, {kind}, {protocol}) is open"

    return open_it


def read_interfaces_by_netlink(_: Target) -> Answer:
    def dump() -> str:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
            link.settimeout(_TIMEOUT)
            link.send(struct.pack("=IHHIIB3x", 20, 18, 0x301, 1, 0, 0))  # RTM_GETLINK, dump
            found = link.recv(65536)
        return f"{len(found)} bytes of links: {found.decode('latin-1')!r}"

    return one_way(dump)


def hear_kernel_events(_: Target) -> Answer:
    def bound(protocol: int, groups: int) -> str:
        link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        hold(link.close)
        link.bind((0, groups))
        return f"netlink protocol {protocol} is bound"

    return ways(uevents=lambda: bound(15, 1), routes=lambda: bound(0, 1))


def open_raw_socket(_: Target) -> Answer:
    kinds = {"icmp": (socket.AF_INET, 1), "tcp": (socket.AF_INET, 6), "v6": (socket.AF_INET6, 58)}
    return ways(
        **{
            name: _opened(family, socket.SOCK_RAW, number)
            for name, (family, number) in kinds.items()
        }
    )


def open_packet_socket(_: Target) -> Answer:
    every = socket.htons(3)  # ETH_P_ALL
    return ways(
        raw=_opened(socket.AF_PACKET, socket.SOCK_RAW, every),
        datagram=_opened(socket.AF_PACKET, socket.SOCK_DGRAM, every),
    )


def open_vsock(_: Target) -> Answer:
    """The way from a virtual machine to its hypervisor, which a network namespace does not cut."""
    return ways(
        stream=_opened(socket.AF_VSOCK, socket.SOCK_STREAM),
        datagram=_opened(socket.AF_VSOCK, socket.SOCK_DGRAM),
    )


def open_crypto_socket(_: Target) -> Answer:
    def hash_something() -> str:
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as algorithm:
            algorithm.bind(("hash", "sha256"))
        return "AF_ALG is open"

    return one_way(hash_something)


# X25, KEY, RDS, LLC, CAN, TIPC, BLUETOOTH, RXRPC, KCM, QIPCRTR, SMC, XDP
_RARE: Final = (9, 15, 21, 26, 29, 30, 31, 33, 41, 42, 43, 44)


def open_rare_socket(_: Target) -> Answer:
    """Families that are seldom used and seldom tested, and often have bugs."""
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
    return ways(
        **{f"family{family}_{kind}": _opened(family, kind) for family in _RARE for kind in kinds}
    )


def listen_for_connections(target: Target) -> Answer:
    def listen(family: int, address: str) -> str:
        server = socket.socket(family)
        hold(server.close)
        server.bind((address, target["port"]))
        server.listen()
        return f"listening on {address}"

    return ways(
        ipv4=lambda: listen(socket.AF_INET, "0.0.0.0"),  # noqa: S104 - that is the attack
        loopback=lambda: listen(socket.AF_INET, "127.0.0.1"),
        ipv6=lambda: listen(socket.AF_INET6, "::1"),
    )


def listen_on_abstract_socket(target: Target) -> Answer:
    def listen() -> str:
        server = socket.socket(socket.AF_UNIX)
        hold(server.close)
        server.bind(b"\0" + target["name"].encode())
        server.listen()
        return "listening"

    return one_way(listen)


def configure_an_interface(_: Target) -> Answer:
    """SIOCSIFFLAGS with the flags that loopback has: nothing changes, but it may."""

    def set_flags() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            request = ctypes.create_string_buffer(struct.pack("16sh22x", b"lo", 0))
            check("SIOCGIFFLAGS", libc.ioctl(any_socket.fileno(), 0x8913, request))
            check("SIOCSIFFLAGS", libc.ioctl(any_socket.fileno(), 0x8914, request))
        return "set the flags of lo"

    return one_way(set_flags)
