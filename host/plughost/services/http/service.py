"""The host service `http`: requests made for a plugin, past the checks that it cannot make."""

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import anyio.to_thread
from msgspec import Meta, Struct

from plughost.config import HostConfig
from plughost.errors import HostMisuse, Overloaded
from plughost.network.resolver import Resolve, Resolver
from plughost.reactor import Reactor
from plughost.rpc.standing import Registrant
from plughost.services.http.errors import HttpRefused, HttpTooLarge
from plughost.services.http.headers import MAX_HEADERS, check_headers
from plughost.services.http.secrets import SecretBox, names_a_secret
from plughost.services.http.session import HttpSession, Part
from plughost.services.http.url import MAX_URL, Url, parse_url
from plughost.services.router import Request, ServiceMethod
from plughost.services.service import HostService
from plughost.units import format_bytes, format_seconds
from plughost_protocol import MAX_CHUNK

if TYPE_CHECKING:  # it imports httpcore2, which a host without such plugins does not need
    from plughost.services.http.client import Exchange

__all__ = ["HttpService", "check_http"]

_PERMISSION: Final = "http:outbound"
_SHOWN: Final = 200  # characters of a path in a log line

Note = Callable[[str, str, str], None]
"""Writes into a plugin's log: its id, the level, the line."""


class HttpRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `http.request`."""

    method: Annotated[str, Meta(pattern=r"\A[A-Z]{3,20}\Z")]
    url: Annotated[str, Meta(max_length=MAX_URL)]
    headers: Annotated[list[tuple[str, str]], Meta(max_length=MAX_HEADERS)] = []
    body: bytes | None = None
    timeout: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    follow_redirects: bool = True
    stream: bool = False


class HttpBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `http.read` and `http.close`."""

    stream: int


class HttpService(HostService):
    """Requests of all plugins; each worker has a client and connections of its own."""

    def __init__(self, config: HostConfig, reactor: Reactor, note: Note) -> None:
        self._config = config
        self._limits = config.http
        self._reactor = reactor
        self._note = note
        self._sessions: dict[Registrant, HttpSession] = {}
        self._resolvers: dict[str, Resolve] = {}
        self._tls: ssl.SSLContext | None = None
        self._secrets = _boxes(config)
        self.methods = (
            ServiceMethod("http.request", _PERMISSION, HttpRequest, self._request, scope=_scope),
            # Goes on with a request that was permitted, and counted.
            ServiceMethod("http.read", None, HttpBody, self._read, counted=False),
            ServiceMethod("http.close", None, HttpBody, self._close, counted=False),
        )

    async def aclose(self) -> None:
        """Close what workers left. They have all ended."""
        for worker in list(self._sessions):
            await self._end(worker)

    # Methods

    async def _request(self, request: Request, params: HttpRequest) -> dict[str, Any]:
        timeout = params.timeout or self._limits.timeout
        self._check(params, timeout)
        session = await self._session(request.worker)
        if params.stream:
            session.check_streams()
        return await session.until_the_end(self._send(request, params, session, timeout))

    async def _send(
        self, request: Request, params: HttpRequest, session: HttpSession, timeout: float
    ) -> dict[str, Any]:
        from plughost.services.http.client import Wanted

        limits = self._limits
        began = self._reactor.now()
        wanted = Wanted(
            method=params.method,
            url=_parsed(params.url),
            headers=params.headers,
            body=params.body,
            follow=params.follow_redirects,
            max_body=limits.max_stream if params.stream else limits.max_response,
        )

        def may(url: Url) -> None:
            request.policy.check(_PERMISSION, f"{url.host}:{url.port}")

        answer = await session.client.send(wanted, may, timeout)
        left = limits.stream_time if params.stream else began + timeout - self._reactor.now()
        if params.stream:
            try:
                session.check_streams()  # others may have been opened in the meantime
            except Overloaded:
                await answer.body.aclose()
                raise
        part = session.add(answer.body, timeout, left, streamed=params.stream)
        # For a streamed body nothing is waited for: the head may come long before it.
        if not params.stream:
            part = await session.read(part["stream"], _size(request.worker))
        return {
            "status": answer.status,
            "headers": answer.headers,
            "url": str(answer.url),
            **part,
        }

    async def _read(self, request: Request, params: HttpBody) -> Part:
        session = self._sessions.get(request.worker)
        if session is None:
            raise HttpRefused(f"no response {params.stream} is open: nothing was requested")
        return await session.until_the_end(session.read(params.stream, _size(request.worker)))

    async def _close(self, request: Request, params: HttpBody) -> None:
        if session := self._sessions.get(request.worker):
            await session.drop(params.stream)

    def _check(self, params: HttpRequest, timeout: float) -> None:
        limits = self._limits
        if params.method in ("CONNECT", "TRACE"):
            raise HttpRefused(f"{params.method} is no request for a resource")
        if names_a_secret(params.url):
            raise HttpRefused("a secret is put into the value of a header, and not into a URL")
        if timeout > limits.max_timeout:
            asked, most = format_seconds(timeout), format_seconds(limits.max_timeout)
            raise HttpRefused(f"a timeout of {asked} is over this host's limit of {most}")
        size = len(params.body or b"")
        if size > limits.max_request:
            most = format_bytes(limits.max_request)
            raise HttpTooLarge(f"a request body of {size} bytes is over the limit of {most}")
        try:
            check_headers(params.headers)
        except ValueError as exc:
            raise HttpRefused(str(exc)) from exc

    # Workers

    async def _session(self, worker: Registrant) -> HttpSession:
        if worker not in self._sessions:
            tls = self._tls or await self._load()
            from plughost.services.http.client import HttpClient

            if worker not in self._sessions:  # another request may have been faster
                plugin_id = worker.plugin_id
                own = self._config.of(plugin_id)
                client = HttpClient(
                    plugin_id,
                    self._limits,
                    tls,
                    resolver=self._resolver(plugin_id),
                    secrets=self._secrets.get(plugin_id) or SecretBox(plugin_id, {}),
                    private_hosts=own.private_hosts,
                    audit=lambda exchange: self._audit(plugin_id, exchange),
                )
                self._sessions[worker] = HttpSession(plugin_id, client, self._limits, self._reactor)
                self._reactor.spawn(self._bury, worker)
        return self._sessions[worker]

    def _resolver(self, plugin_id: str) -> Resolve:
        # Not one of each worker: lookups that hang outlive it, and are counted here.
        if plugin_id not in self._resolvers:
            self._resolvers[plugin_id] = self._config.resolver or Resolver()
        return self._resolvers[plugin_id]

    async def _bury(self, worker: Registrant) -> None:
        await worker.wait()
        await self._end(worker)

    async def _end(self, worker: Registrant) -> None:
        if session := self._sessions.pop(worker, None):
            await session.end()

    async def _load(self) -> ssl.SSLContext:
        # In a thread: both take tens of milliseconds.
        self._tls = await anyio.to_thread.run_sync(self._make_context)
        return self._tls

    def _make_context(self) -> ssl.SSLContext:
        from plughost.services.http import client  # noqa: F401 - loaded here, in the thread

        return ssl.create_default_context(cafile=self._limits.ca_file)

    def _audit(self, plugin_id: str, exchange: "Exchange") -> None:
        url = exchange.url.without_query[:_SHOWN]
        through = f" ({exchange.address})" if exchange.address else ""
        status = f" {exchange.status}" if exchange.status else ""
        problem = f": {exchange.problem}" if exchange.problem else ""
        level = "debug" if not problem else "info" if status else "warning"
        self._note(
            plugin_id,
            level,
            f"{exchange.method} {url}{through}{status}{problem}; {exchange.bytes_up} bytes up, "
            f"{exchange.bytes_down} down, {exchange.seconds:.1f} s",
        )


def check_http(config: HostConfig) -> None:
    """Raises `HostMisuse` for a secret that cannot be, and a file without certificates."""
    _boxes(config)
    path = config.http.ca_file
    if path is not None:
        try:
            ssl.create_default_context(cafile=path)
        except OSError as exc:
            raise HostMisuse(f"HttpConfig.ca_file: {path} holds no certificates: {exc}") from exc


def _boxes(config: HostConfig) -> dict[str, SecretBox]:
    return {
        plugin_id: SecretBox(plugin_id, own.secrets, own.private_hosts)
        for plugin_id, own in config.plugins.items()
    }


def _size(worker: Registrant) -> int:
    # Half of a frame, because the head of the response needs room too.
    return min(MAX_CHUNK, worker.limits.max_frame // 2)


def _parsed(url: str) -> Url:
    try:
        return parse_url(url)
    except ValueError as exc:
        raise HttpRefused(str(exc)) from exc


def _scope(params: HttpRequest) -> str:
    url = _parsed(params.url)
    return f"{url.host}:{url.port}"
