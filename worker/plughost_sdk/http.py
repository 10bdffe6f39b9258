"""What a plugin asks of the world over HTTP: the host makes the request, and checks it."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypedDict, Unpack

import msgspec

from .errors import HostError
from .link import HostLink, HostPart

__all__ = ["Http", "HttpError", "HttpHeaders", "HttpResponse", "HttpStream"]

HeaderValues: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
Query: TypeAlias = Mapping[str, Any] | Sequence[tuple[str, Any]]

_CODES: Final = frozenset({"http_failed", "http_refused", "http_too_large", "timeout"})


class Options(TypedDict, total=False):
    """What all methods of `Http` take, by name; see `Http.request`."""

    headers: HeaderValues | None
    params: Query | None
    body: bytes | str | None
    timeout: float | None
    follow_redirects: bool


class HttpError(HostError):
    """Raised when there is no response, or not all of it. Not raised for a status such as 404.

    `code` is `http_failed`, `http_refused`, `http_too_large`, `timeout` or, from
    `raise_for_status()`, `http_status`.
    """


class HttpHeaders(Mapping[str, str]):
    """Headers by name, in any case. Several of one name are joined with a comma."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self.pairs: tuple[tuple[str, str], ...] = tuple((name, value) for name, value in pairs)
        """As they came."""

    def get_all(self, name: str) -> list[str]:
        """Each value by itself: for `set-cookie`, which holds commas of its own."""
        return [value for key, value in self.pairs if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.lower() for name, _ in self.pairs))

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self.pairs})

    def __repr__(self) -> str:
        return f"<HttpHeaders {', '.join(self)}>"


class _Head:
    """What a response has besides its body."""

    def __init__(self, answer: Mapping[str, Any], elapsed: float) -> None:
        self.status: int = answer["status"]
        self.headers = HttpHeaders(answer["headers"])
        self.url: str = answer["url"]
        """Where it came from in the end, redirects followed."""
        self.elapsed = elapsed
        """Seconds."""

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    def raise_for_status(self) -> None:
        """Raise `HttpError` unless the status is one of success."""
        if not self.ok:
            raise HttpError("http_status", f"{self.url} answered {self.status}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {self.url}>"


class HttpResponse(_Head):
    """A response, all of it."""

    def __init__(self, answer: Mapping[str, Any], elapsed: float, body: bytes) -> None:
        super().__init__(answer, elapsed)
        self.body = body
        """Decoded, where it was compressed."""

    @property
    def text(self) -> str:
        """The body, in the character set that the response names, or UTF-8."""
        try:
            return self.body.decode(self._charset(), "replace")
        except LookupError:
            return self.body.decode(errors="replace")

    def _charset(self) -> str:
        for part in self.headers.get("content-type", "").split(";")[1:]:
            name, _, value = part.strip().partition("=")
            if name.lower() == "charset" and value:
                return value.strip("\"'")
        return "utf-8"

    def json(self) -> Any:
        """The body, read as JSON. Raises `ValueError` where it is none."""
        return msgspec.json.decode(self.body)


class HttpStream(_Head):
    """A response whose body is read as it comes."""

    def __init__(self, answer: Mapping[str, Any], elapsed: float, link: HostLink) -> None:
        super().__init__(answer, elapsed)
        self._link = link
        self._number: int = answer["stream"]

    async def read(self) -> bytes:
        """What has come, at least one byte; nothing at the end."""
        while self._number:
            answer = await _ask(self._link, "http.read", {"stream": self._number})
            self._number = answer["stream"]
            if answer["body"]:
                return bytes(answer["body"])
        return b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.read():
            yield chunk

    async def aclose(self) -> None:
        """Take no more of it."""
        number, self._number = self._number, 0
        if number:
            await _ask(self._link, "http.close", {"stream": number})


class Http(HostPart):
    """Requests. All need the permission `http:outbound`, for the host that they go to.

    A header value may hold `{{secret:NAME}}`, which the host puts in. Each raises `HttpError`,
    `PermissionDenied`, `RateLimited`.
    """

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: HeaderValues | None = None,
        params: Query | None = None,
        json: Any = None,
        body: bytes | str | None = None,
        timeout: float | None = None,
        follow_redirects: bool = True,
    ) -> HttpResponse:
        """The response. `timeout` is seconds, for all of it; `params` go behind the URL's `?`."""
        asked = _params(method, url, headers, params, json, body, timeout, follow_redirects)
        began = time.monotonic()
        answer = await _ask(self._link, "http.request", asked)
        parts = [part := answer]
        while part["stream"]:
            part = await _ask(self._link, "http.read", {"stream": part["stream"]})
            parts.append(part)
        whole = b"".join(part["body"] for part in parts)
        return HttpResponse(answer, time.monotonic() - began, whole)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: HeaderValues | None = None,
        params: Query | None = None,
        json: Any = None,
        body: bytes | str | None = None,
        timeout: float | None = None,
        follow_redirects: bool = True,
    ) -> AsyncIterator[HttpStream]:
        """The response's head, and its body as it comes: `async with api.http.stream(...) as r`.

        `timeout` is seconds, for the head and for each read.
        """
        asked = _params(method, url, headers, params, json, body, timeout, follow_redirects)
        began = time.monotonic()
        answer = await _ask(self._link, "http.request", {**asked, "stream": True})
        stream = HttpStream(answer, time.monotonic() - began, self._link)
        try:
            yield stream
        finally:
            await stream.aclose()

    async def get(self, url: str, **options: Unpack[Options]) -> HttpResponse:
        """`request("GET", url, ...)`."""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Unpack[Options]) -> HttpResponse:
        """`request("HEAD", url, ...)`."""
        return await self.request("HEAD", url, **options)

    async def post(self, url: str, json: Any = None, **options: Unpack[Options]) -> HttpResponse:
        """`request("POST", url, json=json, ...)`."""
        return await self.request("POST", url, json=json, **options)

    async def put(self, url: str, json: Any = None, **options: Unpack[Options]) -> HttpResponse:
        """`request("PUT", url, json=json, ...)`."""
        return await self.request("PUT", url, json=json, **options)

    async def patch(self, url: str, json: Any = None, **options: Unpack[Options]) -> HttpResponse:
        """`request("PATCH", url, json=json, ...)`."""
        return await self.request("PATCH", url, json=json, **options)

    async def delete(self, url: str, **options: Unpack[Options]) -> HttpResponse:
        """`request("DELETE", url, ...)`."""
        return await self.request("DELETE", url, **options)


def _params(
    method: str,
    url: str,
    headers: HeaderValues | None,
    params: Query | None,
    json: Any,
    body: bytes | str | None,
    timeout: float | None,
    follow_redirects: bool,
) -> dict[str, Any]:
    if json is not None and body is not None:
        raise ValueError("a request has json= or body=, not both")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
    if json is not None:
        body = msgspec.json.encode(json)
        if not any(name.lower() == "content-type" for name, _ in pairs):
            pairs.append(("Content-Type", "application/json"))
    if params:
        from urllib.parse import urlencode  # a worker's start does not wait for it

        url = url.partition("#")[0]
        url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
    return {
        "method": method.upper(),
        "url": url,
        "headers": pairs,
        "body": body.encode() if isinstance(body, str) else body,
        "timeout": timeout,
        "follow_redirects": follow_redirects,
    }


async def _ask(link: HostLink, method: str, params: dict[str, Any]) -> Any:
    try:
        return await link.request(method, params)
    except HostError as exc:
        if exc.code in _CODES:
            raise HttpError(exc.code, str(exc)) from exc
        raise
