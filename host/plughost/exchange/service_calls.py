"""The host service `services`: provide one's own, use those of the plugins one depends on."""

import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from msgspec import Raw

from plughost.errors import CallTimeout, InvalidParams, UndeclaredDependency, UnknownService
from plughost.services.router import Request, ServiceMethod
from plughost.services.service import HostService
from plughost_protocol import MalformedMessage, decode_checked
from plughost_protocol.services import (
    SERVICE_PREFIX,
    SERVICES_CALL,
    SERVICES_LIST,
    SERVICES_PROVIDE,
    SERVICES_WITHDRAW,
    CallService,
    ListServices,
    ProvideService,
    ServiceInfo,
    WithdrawService,
)

from .calls import CallContext, Caller, decode_params, in_chain
from .services import Provided, Service, ServicePlugin, ServiceRegistry

__all__ = ["ServiceExchange", "ServiceProxy", "Services"]

_NO_ITEMS: Final = b"\x90"  # msgpack's empty array


class ServiceExchange(HostService):
    """The service's table, and the calls from plugin to plugin."""

    def __init__(self, plugins: Mapping[str, ServicePlugin], caller: Caller) -> None:
        self._plugins = plugins
        self._caller = caller
        self._registry = ServiceRegistry(plugins)
        self.methods = (
            ServiceMethod(
                SERVICES_PROVIDE,
                "services:provide",
                ProvideService,
                self._on_provide,
                scope=lambda params: params.name,
                registers=True,
            ),
            ServiceMethod(
                SERVICES_WITHDRAW,
                "services:provide",
                WithdrawService,
                self._on_withdraw,
                scope=lambda params: params.name,
                withdraws=True,
            ),
            # Answers with nothing that the plugin may not use.
            ServiceMethod(SERVICES_LIST, None, ListServices, self._on_list),
            ServiceMethod(
                SERVICES_CALL,
                "services:use",
                CallService,
                self._on_call,
                scope=lambda params: params.service,
            ),
        )

    # The life of plugins

    def on_loading(self, plugin_id: str) -> None:
        self._registry.on_loading(plugin_id)

    def on_active(self, plugin_id: str) -> None:
        self._registry.on_active(plugin_id)

    def on_abandoned(self, plugin_id: str) -> None:
        self._registry.on_abandoned(plugin_id)

    def on_unloaded(self, plugin_id: str) -> None:
        self._registry.on_unloaded(plugin_id)

    # The application

    def list(self) -> Mapping[str, Service]:
        """All services, by name."""
        return MappingProxyType({service.name: service for service in self._registry})

    async def call(
        self,
        service: str,
        method: str,
        positional: Sequence[Any],
        named: dict[str, Any],
        context: CallContext | None,
    ) -> Any:
        """The method's result. Raises what `Services.get` says."""
        provided = self._registry.find(service)
        within = math.inf
        if provided is None:
            wanted = None if context is None else context.timeout
            provider = self._registry.plugin_of(service)
            provided, within = await self._return_of(provider, service, wanted or math.inf)
        entry = provided.entry(method)
        params = entry.arguments(positional, named)
        return await self._caller.call(entry, params, in_chain(context), within)

    # Plugins

    async def _on_provide(self, request: Request, params: ProvideService) -> None:
        await self._registry.provide(request.worker, params)

    def _on_withdraw(self, request: Request, params: WithdrawService) -> None:
        self._registry.withdraw(request.worker, params.name)

    def _on_list(self, request: Request, params: ListServices) -> Sequence[ServiceInfo]:  # noqa: ARG002
        return [
            ServiceInfo(
                name=service.name,
                plugin=service.plugin,
                description=_line(service.description),
                methods={
                    name: _line(method.description) for name, method in service.methods.items()
                },
            )
            for service in self._registry
            if self._may_use(request.plugin_id, service.plugin)
            and request.policy.allows("services:use", service.name)
        ]

    async def _on_call(self, request: Request, params: CallService) -> Any:
        service = params.service
        label = f"{SERVICE_PREFIX}{service}.{params.method}"
        context, within = self._caller.nested(request, label, params.timeout)
        provider = self._registry.plugin_of(service)
        if not self._may_use(request.plugin_id, provider.id):
            known = [str(need) for need in self._plugins[request.plugin_id].found.needs]
            raise UndeclaredDependency(request.plugin_id, service, provider.id, known)
        provided = self._registry.find(service)
        if provided is None:
            wanted = min(within, params.timeout or math.inf)
            provided, within = await self._return_of(provider, service, wanted)
        entry = provided.entry(params.method)
        arguments = entry.arguments(
            _decode_positional(label, params.positional), decode_params(label, params.params)
        )
        return await self._caller.call(entry, arguments, context, within)

    def _may_use(self, plugin_id: str, provider_id: str) -> bool:
        asks, provides = self._plugins[plugin_id].found, self._plugins[provider_id].found
        return provider_id == plugin_id or asks.depends_on(provides)

    async def _return_of(
        self, provider: ServicePlugin, service: str, within: float
    ) -> tuple[Provided, float]:
        """The service once its plugin is there again, and the seconds that are left then."""
        within = min(within, provider.timeout)
        end = self._caller.now() + within
        try:
            await provider.wait_for_worker(within)
        except TimeoutError:
            raise CallTimeout(SERVICE_PREFIX + service, within) from None
        provided = self._registry.find(service)
        if provided is None:
            raise UnknownService(service, [known.name for known in self._registry])
        return provided, end - self._caller.now()


class ServiceProxy:
    """A service as an object: each of its methods is awaited."""

    __slots__ = ("_call", "_name")

    def __init__(self, name: str, call: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self._name = name
        self._call = call

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._call(self._name, method, args, kwargs)

        return call

    def __repr__(self) -> str:
        return f"<ServiceProxy {self._name}>"


class Services:
    """The services of all plugins, for the application: it needs no permission."""

    def __init__(self, exchange: ServiceExchange) -> None:
        self._exchange = exchange

    def get(self, name: str, *, context: CallContext | None = None) -> ServiceProxy:
        """An object whose methods are the service's; it stays good while plugins come and go.

        Its methods raise `UnknownService`, and what `Host.call` raises.
        """
        return ServiceProxy(name, partial(self._exchange.call, context=context))

    def list(self) -> Mapping[str, Service]:
        """The services that there are, by name."""
        return self._exchange.list()


def _line(description: str) -> str:
    """The first line of a description: all of them together must fit in an answer."""
    return description.partition("\n")[0][:200]


def _decode_positional(label: str, raw: Raw) -> Sequence[Any]:
    if raw == _NO_ITEMS:
        return ()
    try:
        values = decode_checked(raw)
    except MalformedMessage as exc:
        raise InvalidParams(label, [f"$ {exc.reason}"]) from exc
    if not isinstance(values, list):
        raise InvalidParams(label, ["$ what is given by position must be an array"])
    return values
