"""Attacks by sockets of every kind."""

import os
import secrets
import socket
from pathlib import Path
from typing import Any, Final

from msgspec import Raw

from plughost_protocol import Call, CallMeta, encode

from .attack import Aim, Attempt, Control, Group, Need, NotPossible, Section
from .listeners import Listener
from .proofs import claims, holds, reached
from .range import Range

__all__ = ["NETWORK"]

NETWORK: Final = Section(Group.NETWORK)

_TCP: Final = "namespaces landlock seccomp"
_SOCKET: Final = "seccomp"


def _server(
    at: Range, host: str, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM
) -> Listener:
    try:
        return at.server(family, (host, 0), kind)
    except OSError as exc:
        raise NotPossible(f"this machine has no {host}: {exc.strerror}") from exc


def _to(listener: Listener, **more: Any) -> Aim:
    port = listener.port
    return Aim({"port": port, "word": listener.word} | more, reached(listener))


@NETWORK.attack("connects to a server on 127.0.0.1", _TCP)
def connect_to_loopback(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1"), host="127.0.0.1")


@NETWORK.attack("connects to a server by the address 0.0.0.0", _TCP)
def connect_to_any_address(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1"), host="0.0.0.0")  # noqa: S104 - that is the attack


@NETWORK.attack("connects to the machine's own address in its network", _TCP)
def connect_to_machine_address(at: Range) -> Aim:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; only finds the way
        except OSError as exc:
            raise NotPossible(f"this machine is in no network: {exc.strerror}") from exc
        host = probe.getsockname()[0]
    return _to(_server(at, host), host=host)


@NETWORK.attack("connects by IPv6", _TCP, needs=(Need.IPV6,))
def connect_by_ipv6(at: Range) -> Aim:
    return _to(_server(at, "::1", socket.AF_INET6), host="::1")


@NETWORK.attack("connects to an IPv4 address that is written as IPv6", _TCP, needs=(Need.IPV6,))
def connect_by_mapped_address(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1"), host="127.0.0.1")


@NETWORK.attack("connects by name", _TCP)
def connect_by_name(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1"), name="localhost")


@NETWORK.attack(
    "connects by multipath TCP, which Landlock's rules do not know", f"namespaces {_SOCKET}"
)
def connect_by_multipath_tcp(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1"), host="127.0.0.1")


@NETWORK.attack("connects by TCP fast open, without connect(2)", f"namespaces {_SOCKET}")
def connect_by_fast_open(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1"), host="127.0.0.1")


@NETWORK.attack("sends UDP", "namespaces seccomp")
def send_udp(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1", kind=socket.SOCK_DGRAM), host="127.0.0.1")


@NETWORK.attack("sends UDP by IPv6", "namespaces seccomp", needs=(Need.IPV6,))
def send_udp_by_ipv6(at: Range) -> Aim:
    return _to(_server(at, "::1", socket.AF_INET6, socket.SOCK_DGRAM), host="::1")


@NETWORK.attack("tells a secret in the name that it asks a name server for", "namespaces seccomp")
def leak_by_dns_question(at: Range) -> Aim:
    return _to(_server(at, "127.0.0.1", kind=socket.SOCK_DGRAM), host="127.0.0.1")


def _unix(at: Range, kind: int) -> Aim:
    path = at.socket_path()
    listener = at.server(socket.AF_UNIX, path, kind)
    return Aim({"path": path, "word": listener.word}, reached(listener))


@NETWORK.attack("connects to a Unix socket by its path", "mounts seccomp")
def connect_to_unix_socket(at: Range) -> Aim:
    return _unix(at, socket.SOCK_STREAM)


@NETWORK.attack("connects to a Unix socket that keeps the bounds of packets", "mounts seccomp")
def connect_to_seqpacket_socket(at: Range) -> Aim:
    return _unix(at, socket.SOCK_SEQPACKET)


@NETWORK.attack("sends to a Unix socket by its path", "mounts seccomp")
def send_to_unix_datagram_socket(at: Range) -> Aim:
    return _unix(at, socket.SOCK_DGRAM)


@NETWORK.attack("sends to a Unix socket from one of a pair, without socket(2)", "mounts seccomp")
def send_from_a_socket_pair(at: Range) -> Aim:
    return _unix(at, socket.SOCK_DGRAM)


@NETWORK.attack("connects to an abstract Unix socket", "namespaces landlock seccomp")
def connect_to_abstract_socket(at: Range) -> Aim:
    name = f"plughost-attack-{secrets.token_hex(8)}"
    listener = at.server(socket.AF_UNIX, f"\0{name}".encode(), socket.SOCK_STREAM)
    return Aim({"name": name, "word": listener.word}, reached(listener))


@NETWORK.attack("connects to a socket like the host's control socket", "uid mounts seccomp")
def connect_to_control_socket(at: Range) -> Aim:
    folder = at.new_folder()
    path = str(folder / "control.sock")
    listener = at.server(socket.AF_UNIX, path, socket.SOCK_STREAM)
    Path(path).chmod(0o600)
    folder.chmod(0o700)
    return Aim({"path": path, "word": listener.word}, reached(listener))


@NETWORK.attack("commands the running host through its management socket", "uid mounts seccomp")
def connect_to_management_socket(at: Range) -> Aim:
    path = at.management_socket
    if path is None or not path.is_socket():
        raise NotPossible("no host with a management socket runs here")
    call = encode(Call(1, "host.list", Raw(encode({})), CallMeta()))
    frame = len(call).to_bytes(4, "big") + call
    return Aim({"path": str(path), "word": "", "frame": frame.hex()}, claims())


# Other families


@NETWORK.attack("asks the kernel for the network interfaces by netlink", _SOCKET)
def read_interfaces_by_netlink(_: Range) -> Aim:
    return Aim({}, claims("bytes of links"))


@NETWORK.attack("listens to the kernel's events by netlink", _SOCKET)
def hear_kernel_events(_: Range) -> Aim:
    return Aim({}, claims("is bound"))


@NETWORK.attack(
    "opens raw sockets", "capabilities seccomp", control=Control.BARE, needs=(Need.ROOT,)
)
def open_raw_socket(_: Range) -> Aim:
    return Aim({}, holds(r"socket:\["))


@NETWORK.attack(
    "opens packet sockets, which see all traffic", "capabilities seccomp",
    control=Control.BARE, needs=(Need.ROOT,),
)  # fmt: skip
def open_packet_socket(_: Range) -> Aim:
    return Aim({}, claims("is open"))


@NETWORK.attack("opens a vsock, a virtual machine's way to its hypervisor", _SOCKET)
def open_vsock(_: Range) -> Aim:
    return Aim({}, claims("is open"))


@NETWORK.attack("opens an AF_ALG socket, a way into the kernel's cryptography", _SOCKET)
def open_crypto_socket(_: Range) -> Aim:
    return Aim({}, claims("is open"))


@NETWORK.attack(
    "opens sockets of a dozen families that nobody uses", _SOCKET,
    control=Control.BARE, needs=(Need.ROOT,),
)  # fmt: skip
def open_rare_socket(_: Range) -> Aim:
    return Aim({}, claims("is open"))


@NETWORK.attack("listens for connections from outside", "namespaces landlock seccomp")
def listen_for_connections(_: Range) -> Aim:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def proof(attempt: Attempt) -> str:
        for host in ("127.0.0.1", "::1"):
            if attempt.pid:
                try:
                    with socket.create_connection((host, port), 1.0):
                        return f"it listens on {host}, port {port}"
                except OSError:
                    continue
        return ""

    return Aim({"port": port}, proof)


@NETWORK.attack("listens on an abstract Unix socket", "namespaces seccomp")
def listen_on_abstract_socket(_: Range) -> Aim:
    name = f"plughost-attack-{secrets.token_hex(8)}"

    def proof(_: Attempt) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(f"\0{name}".encode())
            except OSError:
                return ""
        return f"it listens on the abstract socket {name}"

    return Aim({"name": name}, proof)


@NETWORK.attack(
    "sets up a network interface", "capabilities seccomp",
    control=Control.BARE, needs=(Need.ROOT,),
)  # fmt: skip
def configure_an_interface(_: Range) -> Aim:
    if not os.path.isdir("/sys/class/net/lo"):  # noqa: PTH112
        raise NotPossible("there is no loopback interface")
    return Aim({}, claims("set the flags"))
