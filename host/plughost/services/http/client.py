"""The HTTP client of one worker: one connection pool, redirects followed one checked step a time.

Built on httpcore2 alone: httpx2 above it decodes without a bound, follows redirects without our
checks and keeps cookies. Imported on first use.
"""

import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

import anyio
import httpcore2

from plughost.errors import PlughostError
from plughost.network.resolver import Resolve
from plughost.service_config import HttpConfig
from plughost.services.http.backend import Backend, BudgetStream, as_ours
from plughost.services.http.body import Body
from plughost.services.http.decode import ACCEPTED, decoder_for
from plughost.services.http.errors import HttpFailed, HttpRefused, HttpTimeout, HttpTooLarge
from plughost.services.http.headers import Headers, value_of
from plughost.services.http.secrets import SecretBox, SecretRefused, names_a_secret
from plughost.services.http.url import Url, redirect_url
from plughost.units import KiB, format_bytes

__all__ = ["Answer", "Exchange", "HttpClient", "Wanted"]

_MAX_HEAD: Final = 64 * KiB
_MAX_HEADERS: Final = 256
_KEEP_IDLE: Final = 15.0  # servers close idle connections after 5 to 75 s
_SHORT: Final = 4 * KiB
_FRAMING: Final = 64 * KiB  # of a short body's chunks
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# What is for one server only; browsers drop these too.
_PERSONAL: Final = frozenset({"authorization", "cookie"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a plugin asks for, judged."""

    method: str
    url: Url
    headers: Headers
    body: bytes | None
    follow: bool
    max_body: int
    """Decoded bytes of the response."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the audit keeps of one request and its response; a redirect is one of its own."""

    method: str
    url: Url
    address: str
    """That was connected to; empty when it did not come to that."""
    status: int
    """0 without a response."""
    problem: str
    bytes_up: int
    bytes_down: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A response whose body is still to be read, or closed."""

    status: int
    headers: Headers
    url: Url
    body: Body


class HttpClient:
    """Requests of one worker. No cookie and no connection of another plugin is in it."""

    def __init__(
        self,
        plugin_id: str,
        config: HttpConfig,
        tls: ssl.SSLContext,
        *,
        resolver: Resolve,
        secrets: SecretBox,
        private_hosts: Collection[str] = (),
        audit: Callable[[Exchange], None],
    ) -> None:
        self._user_agent = f"plughost-plugin/{plugin_id}"
        self._config = config
        self._secrets = secrets
        self._audit = audit
        # No proxy: one of the environment would be past the check of addresses.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=config.connections,
            keepalive_expiry=_KEEP_IDLE,
            network_backend=Backend(resolver, private_hosts, _MAX_HEAD),
        )

    async def aclose(self) -> None:
        """Close its connections."""
        with anyio.CancelScope(shield=True):
            await self._pool.aclose()

    async def send(self, wanted: Wanted, may: Callable[[Url], None], timeout: float) -> Answer:
        """The response's head, within `timeout` seconds. Raises `HttpError`.

        `may` is asked before each step; what it raises ends the request.
        """
        with anyio.move_on_after(timeout):
            for _ in range(self._config.max_redirects + 1):
                answer = await self._exchange(wanted, may)
                following = await self._next(wanted, answer)
                if following is None:
                    return answer
                wanted = following
            raise HttpRefused(f"more than {self._config.max_redirects} redirects")
        raise HttpTimeout(f"{wanted.url.without_query} did not answer", timeout)

    async def _next(self, wanted: Wanted, answer: Answer) -> Wanted | None:
        location = value_of(answer.headers, "location")
        if not wanted.follow or answer.status not in _REDIRECTS or not location:
            return None
        length = value_of(answer.headers, "content-length")
        if length.isdecimal() and int(length) <= _SHORT:  # the connection can be used again
            await answer.body.read(_SHORT + 1, self._config.max_timeout, fill=True)
        await answer.body.aclose(problem="")
        try:
            # The secrets are out of it already, as out of everything that came back.
            url = redirect_url(wanted.url, location)
        except ValueError as exc:
            raise HttpRefused(f"a redirect that is not followed: {exc}") from exc
        headers = wanted.headers
        if url.origin != wanted.url.origin:
            headers = [
                (name, value)
                for name, value in headers
                if name.lower() not in _PERSONAL and not names_a_secret(value)
            ]
        wanted = replace(wanted, url=url, headers=headers)
        # As browsers do it, https://fetch.spec.whatwg.org/#http-redirect-fetch.
        changes = answer.status == 303 and wanted.method != "HEAD"
        if changes or (answer.status in (301, 302) and wanted.method == "POST"):
            headers = [each for each in headers if not each[0].lower().startswith("content-")]
            wanted = replace(wanted, method="GET", body=None, headers=headers)
        return wanted

    async def _exchange(self, wanted: Wanted, may: Callable[[Url], None]) -> Answer:
        record = _Record(wanted, self._audit)
        try:
            may(wanted.url)
            request = self._request(wanted)
            with as_ours(self._secrets.redact):
                response = await self._pool.handle_async_request(request)
                try:
                    return self._answer(wanted, response, record)
                except BaseException:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
                    raise
        except BaseException as exc:
            record.end(str(exc) if isinstance(exc, PlughostError) else "cut off")
            raise

    def _answer(self, wanted: Wanted, response: httpcore2.Response, record: "_Record") -> Answer:
        record.stream = stream = response.extensions["network_stream"]
        record.status = response.status
        headers = [
            (name.decode("latin-1"), self._secrets.redact(value.decode("latin-1")))
            for name, value in response.headers
        ]
        if len(headers) > _MAX_HEADERS:
            raise HttpTooLarge(f"the response has {len(headers)} headers, over {_MAX_HEADERS}")
        if stream.down == 0:
            # It had sent more than one response to the request before.
            raise HttpFailed("the server answered before it was asked")
        encoding = "" if wanted.method == "HEAD" else value_of(headers, "content-encoding")
        length = value_of(headers, "content-length")
        if wanted.method != "HEAD" and length.isdecimal() and int(length) > wanted.max_body:
            size, limit = format_bytes(int(length)), format_bytes(wanted.max_body)
            raise HttpTooLarge(f"the response has {size}, over the limit of {limit}")
        try:
            decoder = decoder_for(encoding)
        except ValueError as exc:
            raise HttpFailed(f"the response cannot be read: {exc}") from exc
        stream.allow_body(2 * wanted.max_body + _FRAMING)
        body = Body(response, decoder, self._secrets, wanted.max_body, record.end)
        return Answer(response.status, headers, wanted.url, body)

    def _request(self, wanted: Wanted) -> httpcore2.Request:
        url = wanted.url
        try:
            filled = [(name, self._secrets.fill(value, url)) for name, value in wanted.headers]
        except SecretRefused as exc:
            raise HttpRefused(str(exc)) from exc
        headers = [
            ("Host", url.authority),
            ("User-Agent", self._user_agent),
            ("Accept-Encoding", ACCEPTED),
        ]
        if not any(name.lower() == "accept" for name, _ in filled):
            headers.append(("Accept", "*/*"))
        if wanted.body is not None or wanted.method in ("POST", "PUT", "PATCH"):
            headers.append(("Content-Length", str(len(wanted.body or b""))))
        return httpcore2.Request(
            wanted.method,
            httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target),
            headers=[*headers, *filled],
            content=wanted.body or b"",
        )


class _Record:
    """One exchange under way."""

    def __init__(self, wanted: Wanted, audit: Callable[[Exchange], None]) -> None:
        self._wanted = wanted
        self._audit = audit
        self._began = time.monotonic()
        self.stream: BudgetStream | None = None
        self.status = 0

    def end(self, problem: str) -> None:
        """All has come, or the problem says why not."""
        stream = self.stream
        self._audit(
            Exchange(
                method=self._wanted.method,
                url=self._wanted.url,
                address=stream.address if stream else "",
                status=self.status,
                problem=problem,
                bytes_up=stream.up if stream else 0,
                bytes_down=stream.down if stream else 0,
                seconds=time.monotonic() - self._began,
            )
        )
