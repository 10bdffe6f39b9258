"""`api.services`: what plugins provide to each other."""

import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from plughost_protocol import encode
from plughost_protocol.services import (
    SERVICE_PREFIX,
    SERVICES_CALL,
    SERVICES_LIST,
    SERVICES_PROVIDE,
    SERVICES_WITHDRAW,
    CallService,
    ListServices,
    MethodSpec,
    ProvideService,
    ServiceInfo,
    ServiceName,
    WithdrawService,
)

from .declarations import Declared, declared_methods, mark
from .errors import PluginMistake
from .link import HostLink, HostPart
from .tools import Tool, ToolOptions

__all__ = ["Service", "ServiceInfo", "ServiceOptions", "Services", "service", "service_options"]

F = TypeVar("F", bound=Callable[..., Any])


class ServiceOptions(Struct, frozen=True):
    """What a decorator says of a method of a service, or of a class with the methods of one."""

    service: str
    """Its name; empty within a class that is provided as a whole."""
    method: ToolOptions


def service_options(service: str, method: str | None = None, **options: Any) -> ServiceOptions:
    """The options of a decorator as one object."""
    return ServiceOptions(service, ToolOptions(name=method, **options))


def service(
    name: str = "",
    /,
    *,
    method: str | None = None,
    description: str | None = None,
    input_schema: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    idempotent: bool = False,
) -> Callable[[F], F]:
    """Mark a method of a `Plugin` subclass as a method of the service `name`.

    Types, docstrings and options are as for `tool`; `method` is its name where it is not the
    function's. In a class that is provided as a whole, which needs no marks, it gives options to
    a method: `@service(idempotent=True)`.
    """
    options = service_options(
        name,
        method,
        description=description,
        input_schema=input_schema,
        timeout=timeout,
        idempotent=idempotent,
    )
    return lambda target: mark(target, "service", options)


class Service(HostPart):
    """A service of another plugin: each of its methods is awaited. Holds no state of it."""

    def __init__(self, link: HostLink, name: str, timeout: float | None) -> None:
        super().__init__(link)
        self._name = name
        self._timeout = timeout

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if method.startswith("_"):  # what copy, pickle and debuggers ask every object for
            raise AttributeError(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            request = CallService(
                service=self._name,
                method=method,
                params=Raw(encode(kwargs)),
                positional=Raw(encode(args)),
                timeout=self._timeout,
            )
            return await self._link.request(SERVICES_CALL, request, self._timeout)

        return call

    def __repr__(self) -> str:
        return f"<Service {self._name}>"


class Services(HostPart):
    """The services that this plugin provides, and those of the plugins that it depends on."""

    def __init__(self, link: HostLink) -> None:
        super().__init__(link)
        self._provided: dict[str, list[str]] = {}

    def get(self, name: str, *, timeout: float | None = None) -> Service:
        """An object whose methods are those of the service: `await cache.get("key")`.

        Asks nothing yet, and stays good over every restart. Its methods give plain values, within
        `timeout` seconds and the deadline of the running call. Needs the permission
        `services:use`, and the provider among the manifest's `dependencies`.
        """
        return Service(self._link, name, timeout)

    async def provide(self, name: str, provider: object, *, description: str = "") -> None:
        """Provide the public methods of an object, from now on. Needs `services:provide`."""
        if inspect.isclass(provider):
            raise PluginMistake(f"service {name!r}: give an object, not a class")
        methods = list(_methods_of(provider, ToolOptions()))
        await self._provide(name, methods, description or inspect.getdoc(type(provider)) or "")

    async def withdraw(self, name: str) -> None:
        """Take a service back. Raises `KeyError` for one that is not provided."""
        methods = self._provided[name]
        await self._link.request(SERVICES_WITHDRAW, WithdrawService(name=name))
        self._forget(name, methods)

    async def list(self) -> Sequence[ServiceInfo]:
        """The services that this plugin may use and that there are."""
        found = await self._link.request(SERVICES_LIST, ListServices())
        return msgspec.convert(found, tuple[ServiceInfo, ...])

    async def _declare(self, declared: Iterator[Declared]) -> None:
        """Provide what decorators declare: methods of the same service together."""
        offers: dict[str, tuple[list[Declared], str]] = {}
        for target, options in declared:
            methods, description = offers.get(options.service, ([], ""))
            if inspect.isclass(target):
                common = msgspec.structs.replace(
                    options.method, name=None, description=None, input_schema=None
                )
                methods += _methods_of(target(), common)
                description = options.method.description or inspect.getdoc(target) or ""
            else:
                methods.append((target, options.method))
            offers[options.service] = methods, description
        for name, (methods, description) in offers.items():
            await self._provide(name, methods, description)

    async def _provide(self, name: str, declared: Sequence[Declared], description: str) -> None:
        if name in self._provided:
            raise PluginMistake(f"service {name!r} is provided already: withdraw it first")
        try:
            methods = {tool.name: (tool, spec) for tool, spec in map(_method, declared)}
            offer = ProvideService(
                name=msgspec.convert(name, ServiceName),
                methods=[spec for _, spec in methods.values()],
                description=description[:10_000],
            )
        except (PluginMistake, msgspec.ValidationError) as exc:
            raise PluginMistake(f"service {name!r}: {exc}") from exc
        if len(methods) < len(declared) or not methods:
            what = "a method is declared twice" if methods else "there are no public methods"
            raise PluginMistake(f"service {name!r}: {what}")
        self._provided[name] = list(methods)
        # Before the host is told: it may call at once.
        for method, (tool, _) in methods.items():
            self._link.handlers[f"{SERVICE_PREFIX}{name}.{method}"] = tool
        try:
            await self._link.request(SERVICES_PROVIDE, offer)
        except BaseException:
            self._forget(name, list(methods))
            raise

    def _forget(self, name: str, methods: Sequence[str]) -> None:
        self._provided.pop(name, None)
        for method in methods:
            self._link.handlers.pop(f"{SERVICE_PREFIX}{name}.{method}", None)


def _methods_of(provider: object, common: ToolOptions) -> Iterator[Declared]:
    """The public methods of an object, in the order of its class, with what is said of each."""
    if hasattr(provider, "on_load"):
        raise PluginMistake("a plugin is no service: mark methods of it with @service(NAME)")
    given = {
        bound.__name__: options.method for bound, options in declared_methods(provider, "service")
    }
    names: dict[str, None] = {}
    for base in reversed(type(provider).__mro__[:-1]):
        for name, value in vars(base).items():
            if inspect.isfunction(value) or isinstance(value, staticmethod | classmethod):
                names[name] = None
    for name in names:
        if not name.startswith("_"):
            yield getattr(provider, name), given.get(name, common)


def _method(declared: Declared) -> tuple[Tool, MethodSpec]:
    """What the host calls, and what it is told of it. Raises `PluginMistake`."""
    function, options = declared
    tool = Tool(function, options)
    if tool.streams:
        raise PluginMistake(
            f"method {tool.name!r} is a generator: return a list, or make it a tool"
        )
    parameters = inspect.signature(function).parameters.values()
    fields = msgspec.structs.asdict(tool.spec)
    if options.input_schema is None:
        fields["positional"] = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return tool, msgspec.convert(fields, MethodSpec)
