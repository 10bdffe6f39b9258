"""The headers that a plugin may send."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = ["MAX_HEADERS", "Headers", "check_headers", "value_of"]

Headers = Sequence[tuple[str, str]]
"""In the order of the wire; a name may come more than once."""

MAX_HEADERS: Final = 100

_MAX_SIZE: Final = 32 * 1024  # characters of all; what servers take is less
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_PROXY: Final = "proxy-"
# Why a plugin cannot set them.
_FRAMING: Final = "it says where the message ends"
_HOPS: Final = "it is about the connection, which is the host's"
_RESERVED: Final = {
    "accept-encoding": "the host decodes the body, within its limits",
    "connection": _HOPS,
    "content-length": _FRAMING,
    "expect": _HOPS,
    "host": "it is the URL's host",
    "http2-settings": _HOPS,
    "keep-alive": _HOPS,
    "te": _HOPS,
    "trailer": _FRAMING,
    "transfer-encoding": _FRAMING,
    "upgrade": _HOPS,
    "user-agent": "it names the plugin",
    "via": _HOPS,
}


def check_headers(headers: Headers) -> None:
    """Raises `ValueError`, with the reason, for a header that is not the plugin's to send."""
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"a request has at most {MAX_HEADERS} headers, not {len(headers)}")
    size = sum(len(name) + len(value) for name, value in headers)
    if size > _MAX_SIZE:
        raise ValueError(f"headers of {size} characters are over the limit of {_MAX_SIZE}")
    for name, value in headers:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is no header's name")
        if reason := _why_reserved(name.lower()):
            raise ValueError(f"the header {name} is the host's to send: {reason}")
        if not _VALUE.fullmatch(value) or value != value.strip():
            raise ValueError(
                f"the value of the header {name} holds a line end, another control character, a "
                "character beyond ASCII or a space at an end"
            )


def value_of(headers: Iterable[tuple[str, str]], name: str) -> str:
    """All values of a header, joined; `name` is in lower case."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def _why_reserved(name: str) -> str:
    return _HOPS if name.startswith(_PROXY) else _RESERVED.get(name, "")
