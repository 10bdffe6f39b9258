"""The URLs that a plugin may ask for: one form, one meaning, or none."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urljoin

from plughost.catalog.host_names import canonical_name, canonical_port

__all__ = ["MAX_URL", "Url", "parse_url", "redirect_url"]

MAX_URL: Final = 8192
"""Characters."""

_PORTS: Final = {"http": 80, "https": 443}
_URL: Final = re.compile(r"(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?(?:#.*)?", re.IGNORECASE)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# Parsers disagree about these: some skip them, some take a backslash for a slash.
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_KEPT: Final = "/:?@!$&'()*+,;=[]%~"
# What browsers refuse: https://fetch.spec.whatwg.org/#port-blocking. Mail servers and their like
# take a request's body for commands.
_BAD_PORTS: Final = frozenset(
    {
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95),
        *(101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161),
        *(179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563),
        *(587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060),
        *(5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    }
)


@dataclass(frozen=True, slots=True)
class Url:
    """Where a request goes."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Lower case, no dot at its end."""
    port: int
    path: str
    """Begins with a slash; ASCII."""
    query: str
    """With its question mark; empty where there is none."""

    @property
    def target(self) -> str:
        """What the request line names."""
        return f"{self.path}{self.query}"

    @property
    def authority(self) -> str:
        """What the Host header says: the port only where it is not the scheme's own."""
        own = self.port == _PORTS[self.scheme]
        return self.host if own else f"{self.host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Two URLs with the same one lead to the same server, over the same kind of connection."""
        return self.scheme, self.host, self.port

    @property
    def without_query(self) -> str:
        """For logs."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """The URL in its one form, without the fragment. Raises `ValueError`, with the reason.

    Names of the local network pass: whether they may be connected to, the dial judges.
    """
    if len(text) > MAX_URL:
        raise ValueError(f"a URL has at most {MAX_URL} characters, not {len(text)}")
    if unsafe := _UNSAFE.search(text):
        raise ValueError(
            f"a URL holds no {unsafe[0]!r}: percent-encode it (a space is %20), or pass params="
        )
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(_no_url(text))
    scheme, authority, path, query = match[1].lower(), match[2], match[3], match[4] or ""
    if "@" in authority:
        raise ValueError("a URL holds no user and no password: send an Authorization header")
    host, colon, port_text = authority.partition(":")
    if authority.startswith("[") or ":" in port_text:
        raise ValueError(f"{authority[:100]!r} is an address: only names are requested")
    port = canonical_port(port_text) if colon else _PORTS[scheme]
    if port in _BAD_PORTS:
        raise ValueError(f"port {port} belongs to another protocol: no browser requests it either")
    name = canonical_name(host, allow_private=(host.removesuffix(".").lower(),))
    return Url(scheme, name, port, _ascii(path) or "/", _ascii(query))


def redirect_url(base: Url, location: str) -> Url:
    """Where a Location header leads. Raises `ValueError`."""
    # Servers send spaces there, and browsers follow.
    return parse_url(urljoin(str(base), location.strip().replace(" ", "%20")))


def _ascii(text: str) -> str:
    try:
        return quote(text, safe=_KEPT)
    except UnicodeEncodeError:
        raise ValueError("a URL holds half a character (a lone surrogate)") from None


def _no_url(text: str) -> str:
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() not in _PORTS:
        return f"{scheme[1][:30]!r} is no scheme for requests: write http:// or https://"
    return f"{text[:100]!r} is no URL: write https://HOST/PATH"
