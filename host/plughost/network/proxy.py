"""The head of a request to the proxy, for clients that are told to use one.

`CONNECT host:port`, or one plain request with an absolute `http://` URL. Strict: what two readers
could understand differently is refused.
"""

import re
from dataclasses import dataclass
from typing import Final

from plughost.catalog.host_names import canonical_name, canonical_port

__all__ = ["ESTABLISHED", "MAX_HEAD", "BadRequest", "ProxyRequest", "read_request", "refusal_text"]

MAX_HEAD: Final = 16 * 1024
ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

_MAX_BODY_DIGITS: Final = 15
_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,20}) ([!-~]+) HTTP/1\.[01]")
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
# Of this hop only (RFC 9110, section 7.6.1), or rewritten here.
_DROPPED: Final = frozenset(
    {"connection", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"}
)

_PHRASES: Final = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
}


class BadRequest(ValueError):
    """Raised for a head that is not acted upon. `status` is the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class ProxyRequest:
    """What the client wants."""

    name: str
    port: int
    head: bytes
    """What goes to the server instead of the head that came; empty for CONNECT."""
    body_length: int
    """Bytes of the body, which follow the head; meaningless for CONNECT."""

    @property
    def is_tunnel(self) -> bool:
        return not self.head


def read_request(head: bytes) -> ProxyRequest:
    """The request in `head`, which ends with its empty line. Raises `BadRequest`."""
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    request_line = _REQUEST_LINE.fullmatch(lines[0])
    if request_line is None:
        raise BadRequest(400, "the request line is not METHOD TARGET HTTP/1.1")
    method, target = request_line.groups()
    headers = _headers(lines[1:])
    if "transfer-encoding" in headers:
        raise BadRequest(501, "the proxy takes bodies with a Content-Length only")
    if method == "CONNECT":
        if "content-length" in headers:
            raise BadRequest(400, "CONNECT has no body")
        name, port = _authority(target, default_port=None)
        return ProxyRequest(name, port, b"", 0)
    if not target.startswith("http://"):
        raise BadRequest(405, "this proxy takes CONNECT host:port, or http:// URLs")
    authority, slash, path = target.removeprefix("http://").partition("/")
    if "?" in authority or "#" in target:
        raise BadRequest(400, "the URL is not http://host[:port]/path")
    name, port = _authority(authority, default_port=80)
    rewritten = _rewrite(f"{method} {slash or '/'}{path} HTTP/1.1", name, port, headers)
    return ProxyRequest(name, port, rewritten, _body_length(headers))


def refusal_text(status: int, reason: str) -> bytes:
    """The answer to a request that is refused."""
    body = f"{reason}\n".encode("ascii", "backslashreplace")
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: text/plain; charset=us-ascii\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _headers(lines: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:  # folded lines, bare line ends and names with spaces among them
            raise BadRequest(400, "a header line is not NAME: VALUE")
        found.setdefault(match[1].lower(), []).append(match[2])
    return found


def _authority(text: str, default_port: int | None) -> tuple[str, int]:
    host, colon, port = text.partition(":")
    try:
        # A user or a password before an @ is no label of a name, and no port.
        if not colon and default_port is not None:
            return _granted_form(host), default_port
        return _granted_form(host), canonical_port(port)
    except ValueError as exc:
        raise BadRequest(400, str(exc)) from exc


def _granted_form(host: str) -> str:
    # A single label may be granted too; whether it is, the rules say.
    return canonical_name(host, allow_private=(host.removesuffix(".").lower(),))


def _body_length(headers: dict[str, list[str]]) -> int:
    lengths = headers.get("content-length", ["0"])
    digits = lengths[0]
    # One only, since servers differ in which of two they believe.
    if len(lengths) > 1 or not (digits.isascii() and digits.isdigit()):
        raise BadRequest(400, "the Content-Length is not one number")
    if len(digits) > _MAX_BODY_DIGITS:
        raise BadRequest(400, "the Content-Length is too large")
    return int(digits)


def _rewrite(request_line: str, name: str, port: int, headers: dict[str, list[str]]) -> bytes:
    """The head for the server: its own name as Host, and one request on the connection."""
    # What Connection names is of this hop too.
    of_this_hop = {
        option.strip().lower()
        for value in headers.get("connection", [])
        for option in value.split(",")
    } - {"content-length"}
    lines = [request_line, f"host: {name}" if port == 80 else f"host: {name}:{port}"]
    for field, values in headers.items():
        if field not in _DROPPED and field not in of_this_hop:
            lines += [f"{field}: {value}" for value in values]
    lines += ["connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")
