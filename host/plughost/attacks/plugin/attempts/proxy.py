"""Getting past the names that were granted, by the proxy and by addresses."""

import contextlib
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from http.client import HTTPException
from typing import Any, Final

from .native import Answer, one_way, ways

__all__: list[str] = []

Target = dict[str, Any]

_TIMEOUT: Final = 2.0  # seconds; all servers are on this machine
_ENOUGH: Final = 65536


def _proxy(target: Target) -> tuple[str, int]:
    """The host's own proxy; in the control run, one that checks nothing."""
    host, port = target["naive"] if target.get("bare") else target["proxy"]
    return host, port


def _received(connection: socket.socket) -> str:
    """All that comes until the other end hangs up or falls silent."""
    text = b""
    try:
        while data := connection.recv(_ENOUGH):
            text += data
    except TimeoutError:
        pass
    return text.decode(errors="replace")


def _accepted(answer: str) -> str:
    """The answer, unless the proxy refuses. Raises `PermissionError`."""
    if answer[:12].split(" ")[-1] != "200":
        raise PermissionError(13, answer.partition("\r\n")[0] or "hung up")
    return answer


def _tunnelled(target: Target, authority: str) -> str:
    with socket.create_connection(_proxy(target), _TIMEOUT) as connection:
        connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        _accepted(connection.recv(_ENOUGH).decode(errors="replace"))
        connection.sendall(f"GET /{target['word']} HTTP/1.0\r\n\r\n".encode())
        return _received(connection)


def _sent(target: Target, request: str) -> str:
    with socket.create_connection(_proxy(target), _TIMEOUT) as connection:
        connection.sendall(request.encode())
        return _accepted(_received(connection))


def _asked(target: Target, authority: str) -> str:
    request = f"GET http://{authority}/{target['word']} HTTP/1.1\r\nHost: {authority}\r\n"
    return _sent(target, request + "Connection: close\r\n\r\n")


def _at_authorities(target: Target) -> Answer:
    found: dict[str, Callable[[], object]] = {}
    for authority in target["authorities"]:
        found[f"tunnel to {authority}"] = partial(_tunnelled, target, authority)
        found[f"request to {authority}"] = partial(_asked, target, authority)
    return ways(**found)


reach_by_decimal_address = reach_by_hexadecimal_address = reach_by_octal_address = _at_authorities
reach_by_plain_address = reach_by_mapped_address = reach_by_nat64_address = _at_authorities
reach_another_name = reach_a_name_that_looks_alike = reach_another_port = _at_authorities
reach_by_user_information = _at_authorities


def reach_what_is_granted(target: Target) -> Answer:
    return _at_authorities(target)


def reach_by_rebinding(target: Target) -> Answer:
    """A granted name whose owner lets it lead to this machine."""

    def by_name() -> str:
        address = (target["name"], target["port"])
        with socket.create_connection(address, _TIMEOUT) as connection:
            connection.sendall(f"GET /{target['word']} HTTP/1.0\r\n\r\n".encode())
            return _received(connection)

    authority = f"{target['name']}:{target['port']}"
    return ways(
        name=by_name,
        tunnel=lambda: _tunnelled(target, authority),
        request=lambda: _asked(target, authority),
    )


def smuggle_a_second_request(target: Target) -> Answer:
    """Behind the first one, or inside of it, to where nobody looks any more."""
    granted, secret = target["granted_authority"], target["authorities"][0]
    second = f"GET http://{secret}/{target['word']} HTTP/1.1\r\nHost: {secret}\r\n\r\n"
    first = f"GET http://{granted}/ HTTP/1.1\r\nHost: {granted}\r\n"
    size = len(second)
    heads = {
        "pipelined": f"{first}\r\n",
        "kept_alive": f"{first}Connection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        "two_lengths": f"{first}Content-Length: {size}\r\nContent-Length: 0\r\n\r\n",
        "both_kinds": (
            f"{first}Content-Length: {size}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
        "folded": f"{first}X: y\r\n Content-Length: {size}\r\n\r\n",
        "bare_line_ends": f"{first}X: y\n\n",
        "upgrade": f"{first}Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    }
    return ways(**{name: partial(_sent, target, head + second) for name, head in heads.items()})


def name_another_host_in_the_header(target: Target) -> Answer:
    granted, secret = target["granted_authority"], target["authorities"][0]
    lines = {
        "relative": f"GET /{target['word']} HTTP/1.1\r\nHost: {secret}\r\n",
        "absolute": f"GET http://{secret}/ HTTP/1.1\r\nHost: {granted}\r\n",
        "tunnel": f"CONNECT {secret} HTTP/1.1\r\nHost: {granted}\r\n",
        "broken": f"GET http://{granted}/ HTTP/1.1\r\nHost: {granted}\r\nhost : {secret}\r\n",
    }
    return ways(**{name: partial(_sent, target, f"{head}\r\n") for name, head in lines.items()})


def follow_a_redirect(target: Target) -> Answer:
    """A granted server sends it to one that was not granted."""

    def follow() -> str:
        host, port = _proxy(target)
        proxies = urllib.request.ProxyHandler({"http": f"http://{host}:{port}"})
        opener = urllib.request.build_opener(proxies)
        address = f"http://{target['granted_authority']}/"
        try:
            with opener.open(address, timeout=_TIMEOUT) as answer:
                text: bytes = answer.read()
        except urllib.error.HTTPError as exc:
            raise PermissionError(13, str(exc)) from exc
        except HTTPException as exc:
            raise ConnectionResetError(104, str(exc)) from exc
        return text.decode(errors="replace")

    return one_way(follow)


def name_another_host_in_tls(target: Target) -> Answer:
    """A tunnel to a granted name, in which the first thing said is another name."""

    def tunnel() -> str:
        to_server = ssl.MemoryBIO()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        hello = context.wrap_bio(ssl.MemoryBIO(), to_server, server_hostname=target["tls_name"])
        with contextlib.suppress(ssl.SSLWantReadError):
            hello.do_handshake()
        authority = target["granted_authority"]
        with socket.create_connection(_proxy(target), _TIMEOUT) as connection:
            connection.sendall(f"CONNECT {authority} HTTP/1.1\r\n\r\n".encode())
            _accepted(connection.recv(_ENOUGH).decode(errors="replace"))
            connection.sendall(to_server.read())
            return f"answered {len(_received(connection))} characters"

    return one_way(tunnel)
