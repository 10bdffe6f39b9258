"""Secrets that a plugin uses and never sees: put into headers, and taken out of what comes back."""

import base64
import html
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, quote_plus

from plughost.catalog.host_names import HostRule
from plughost.catalog.secret_form import check_secret_value, secret_rules
from plughost.errors import HostMisuse
from plughost.service_config import Secret
from plughost.services.http.url import Url

__all__ = ["Redactor", "SecretBox", "SecretRefused", "names_a_secret"]

_PLACE: Final = re.compile(r"\{\{\s*secret:([^{}]*)\}\}")


def names_a_secret(text: str) -> bool:
    """Whether there is a place for one."""
    return _PLACE.search(text) is not None


class SecretRefused(ValueError):
    """Raised when a secret must not go where the plugin sends it. Names no other secret."""


@dataclass(frozen=True, slots=True)
class _Held:
    secret: Secret
    rules: tuple[HostRule, ...]


class SecretBox:
    """The secrets of one plugin."""

    def __init__(
        self, plugin_id: str, secrets: Mapping[str, Secret], private_hosts: Collection[str] = ()
    ) -> None:
        """Raises `HostMisuse` for a secret that cannot be. It does not tell the value."""
        self._plugin_id = plugin_id
        self._held = {}
        self._needles: list[_Needle] = []
        for name, secret in secrets.items():
            try:
                rules = secret_rules(name, secret.hosts, private_hosts)
                check_secret_value(secret.value)
            except ValueError as exc:
                raise HostMisuse(f"the secret {name!r} of plugin {plugin_id!r}: {exc}") from None
            self._held[name] = _Held(secret, rules)
            self._needles += _needles(name, secret.value)
        # The longest first: a form that is part of another must not break it up.
        self._needles.sort(key=lambda needle: -len(needle.form))

    def __repr__(self) -> str:
        return f"<SecretBox {self._plugin_id}: {', '.join(self._held) or 'empty'}>"

    def fill(self, value: str, url: Url) -> str:
        """The header's value with its secrets put in. Raises `SecretRefused`."""
        return _PLACE.sub(lambda place: self._value(place[1].strip(), url), value)

    def _value(self, name: str, url: Url) -> str:
        held = self._held.get(name)
        if held is None:
            raise SecretRefused(
                f"plugin {self._plugin_id!r} has no secret {name[:64]!r}: the operator gives "
                "secrets, in PluginConfig.secrets"
            )
        if not any(rule.matches(url.host, url.port) for rule in held.rules):
            raise SecretRefused(f"the secret {name!r} is not for {url.host}:{url.port}")
        if url.scheme != "https" and not held.secret.plain_http:
            raise SecretRefused(
                f"the secret {name!r} is sent over https only, and {url.without_query} is not"
            )
        return held.secret.value

    def redact(self, text: str) -> str:
        """The text with a mark in place of each secret."""
        if not self._needles:
            return text
        data = text.encode(errors="surrogatepass")
        return self._redact(data).decode(errors="surrogatepass")

    def redactor(self) -> "Redactor":
        """One for a body that comes in pieces."""
        return Redactor(self._needles)

    def _redact(self, data: bytes) -> bytes:
        redactor = self.redactor()
        return redactor.feed(data) + redactor.end()


class Redactor:
    """Replaces secrets in data that comes in pieces, wherever it is cut."""

    def __init__(self, needles: "list[_Needle]") -> None:
        self._needles = needles
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """As much as is sure: what may be the beginning of a secret is kept back."""
        if not self._needles:
            return data
        data = self._replaced(self._kept + data)
        # Lower case: a server may change the case of what it echoes.
        low = data.lower()
        keep = max(_overlap(low, needle.form) for needle in self._needles)
        self._kept = data[len(data) - keep :]
        return data[: len(data) - keep]

    def end(self) -> bytes:
        """The rest."""
        rest, self._kept = self._kept, b""
        return rest

    def _replaced(self, data: bytes) -> bytes:
        low = data.lower()
        for needle in self._needles:
            if needle.form in low:
                data = _replace(data, low, needle)
                low = data.lower()
        return data


@dataclass(frozen=True, slots=True)
class _Needle:
    form: bytes
    """One way in which the value may come back, in lower case."""
    mark: bytes


def _replace(data: bytes, low: bytes, needle: _Needle) -> bytes:
    parts = []
    at = 0
    while (found := low.find(needle.form, at)) >= 0:
        parts += [data[at:found], needle.mark]
        at = found + len(needle.form)
    return b"".join([*parts, data[at:]])


def _overlap(data: bytes, form: bytes) -> int:
    """How many bytes at the end of the data may begin the form."""
    start = max(0, len(data) - len(form) + 1)
    while (start := data.find(form[:1], start)) >= 0:
        if form.startswith(data[start:]):
            return len(data) - start
        start += 1
    return 0


def _needles(name: str, value: str) -> list[_Needle]:
    """What the value looks like in the encodings that servers use when they repeat a header."""
    data = value.encode("ascii")
    in_json = json.dumps(value)[1:-1]
    forms = {
        data,
        *(text.encode("ascii") for text in (in_json, in_json.replace("/", "\\/"))),
        *(encode(value).encode("ascii") for encode in _TEXT_FORMS),
        data.hex().encode("ascii"),
        *_base64_forms(data),
    }
    mark = f"[secret:{name}]".encode("ascii")
    return [_Needle(form, mark) for form in {form.lower() for form in forms}]


_TEXT_FORMS: Final[tuple[Callable[[str], str], ...]] = (
    quote,
    lambda value: quote(value, safe=""),
    quote_plus,
    html.escape,
)


def _base64_forms(data: bytes) -> set[bytes]:
    """The value within any base64, such as that of `user:VALUE`: it depends on what is before."""
    forms = set()
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data)
        # The first and the last characters hold bits of the neighbours.
        start = (0, 2, 3)[before]
        length = (8 * (before + len(data))) // 6
        forms |= {encoded[start:length], encoded[start:length].translate(_URL_SAFE)}
    return forms


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
