"""The services that plugins provide: which there are, whose they are, how long they stay."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Protocol

import anyio.lowlevel

from plughost.catalog.discovery import Found
from plughost.errors import InvalidParams, Superseded, UnknownService
from plughost.rpc.standing import Registrant, Standing
from plughost_protocol.services import SERVICE_PREFIX, MethodSpec, ProvideService

from .entry import Entry, OfferRefused, Provider, Terms

__all__ = ["Method", "MethodEntry", "Provided", "Service", "ServicePlugin", "ServiceRegistry"]

# Of one plugin: the host keeps the schemas of each method.
_MAX_SERVICES: Final = 100
_MAX_METHODS: Final = 1000


class ServicePlugin(Provider, Protocol):
    """A plugin that may provide services."""

    @property
    def found(self) -> Found:
        """Its manifest, and where it lies."""


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service as applications see it."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    positional: tuple[str, ...]
    """The parameters that may be given by position, in order."""
    idempotent: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A service as applications see it."""

    name: str
    plugin: str
    """The id of the plugin that provides it."""
    description: str
    methods: Mapping[str, Method]


class MethodEntry(Entry):
    """One method of a service, ready to be called."""

    __slots__ = ("_positional",)

    def __init__(self, provider: Provider, terms: Terms, service: str, spec: MethodSpec) -> None:
        """Raises `OfferRefused`."""
        method = f"{SERVICE_PREFIX}{service}.{spec.name}"
        if spec.streams:
            reason = "a method of a service cannot stream: return a list, or offer a tool"
            raise OfferRefused(f"method {method}", reason)
        # A tool may have the name SERVICE.METHOD too: in the chain of calls, the prefix tells.
        super().__init__(provider, terms, spec, method, method, "method")
        self._positional = spec.positional

    def arguments(self, positional: Sequence[Any], named: dict[str, Any]) -> dict[str, Any]:
        """All by name. Raises `InvalidParams` for too many, and for what is given twice."""
        if not positional:
            return named
        most = len(self._positional)
        if len(positional) > most:
            problem = f"$ takes {most} values by position, not {len(positional)}"
            raise InvalidParams(self.label, [problem])
        given = dict(zip(self._positional, positional, strict=False))
        if twice := given.keys() & named.keys():
            problems = [f"$.{name} is given by position and by name" for name in sorted(twice)]
            raise InvalidParams(self.label, problems)
        return given | named


class Provided:
    """A service, and what its methods are called by."""

    __slots__ = ("entries", "provider", "service")

    def __init__(
        self, provider: ServicePlugin, service: Service, entries: dict[str, MethodEntry]
    ) -> None:
        self.provider = provider
        self.service = service
        self.entries = entries

    @classmethod
    async def make(
        cls, provider: ServicePlugin, terms: Terms, params: ProvideService
    ) -> "Provided":
        """Compile what a worker of these terms describes. Raises `OfferRefused`."""
        entries: dict[str, MethodEntry] = {}
        methods: dict[str, Method] = {}
        for spec in params.methods:
            if spec.name in entries:
                raise OfferRefused(f"service {params.name}", f"it has {spec.name} twice")
            entries[spec.name] = MethodEntry(provider, terms, params.name, spec)
            methods[spec.name] = Method(
                name=spec.name,
                description=spec.description,
                input_schema=spec.input_schema,
                output_schema=spec.output_schema,
                positional=spec.positional,
                idempotent=spec.idempotent,
            )
            await anyio.lowlevel.checkpoint()  # the other plugins' calls go on meanwhile
        service = Service(params.name, provider.id, params.description, MappingProxyType(methods))
        return cls(provider, service, entries)

    def entry(self, method: str) -> MethodEntry:
        """Raises `UnknownService`, with the nearest name."""
        entry = self.entries.get(method)
        if entry is None:
            raise UnknownService(self.service.name, self.entries, method)
        return entry


class ServiceRegistry:
    """All services by name. What a worker provides while it loads is there once it is active;
    until then stands what the worker before it provided, so that callers wait."""

    def __init__(self, plugins: Mapping[str, ServicePlugin]) -> None:
        self._plugins = plugins
        self._provided: dict[str, Provided] = {}
        self._loading: dict[str, dict[str, Provided]] = {}
        """By plugin that loads: what its new worker has provided."""
        self._gone: dict[str, str] = {}
        """Services of plugins that have stopped, and whose they were."""

    def find(self, name: str) -> Provided | None:
        """The service, whether or not its plugin has a worker at the moment."""
        return self._provided.get(name)

    def plugin_of(self, name: str) -> ServicePlugin:
        """Who provides it, did before it stopped, or means to. Raises `UnknownService`."""
        if provided := self._provided.get(name):
            return provided.provider
        if name in self._gone:
            return self._plugins[self._gone[name]]
        for plugin in self._plugins.values():
            if name in plugin.found.manifest.provides():
                return plugin
        raise UnknownService(name, self._provided)

    async def provide(self, worker: Registrant, params: ProvideService) -> None:
        """Take a service in. Raises `OfferRefused`, `Superseded`."""
        plugin_id = worker.plugin_id
        self._check(worker, params)
        provided = await Provided.make(self._plugins[plugin_id], worker, params)
        self._check(worker, params)  # meanwhile others may have come
        if worker.exit is None:
            self._gone.pop(params.name, None)
            self._place_of(worker)[params.name] = provided

    def withdraw(self, worker: Registrant, name: str) -> None:
        """Take a service of this worker out. Raises `UnknownService`."""
        own = self._own(worker)
        if name not in own:
            raise UnknownService(name, own)
        del self._place_of(worker)[name]

    def on_loading(self, plugin_id: str) -> None:
        self._loading[plugin_id] = {}

    def on_active(self, plugin_id: str) -> None:
        new = self._loading.pop(plugin_id, None)
        if new is None:  # it was enabled again, with the worker that it had
            return
        for name in self._standing(plugin_id):
            del self._provided[name]
        self._gone = {n: owner for n, owner in self._gone.items() if owner != plugin_id}
        self._provided |= new

    def on_abandoned(self, plugin_id: str) -> None:
        self._loading.pop(plugin_id, None)

    def on_unloaded(self, plugin_id: str) -> None:
        self._loading.pop(plugin_id, None)
        for name in self._standing(plugin_id):
            del self._provided[name]
            self._gone[name] = plugin_id

    def _standing(self, plugin_id: str) -> dict[str, Provided]:
        """What the plugin provides to others."""
        return {n: p for n, p in self._provided.items() if p.provider.id == plugin_id}

    def _place_of(self, worker: Registrant) -> dict[str, Provided]:
        """Where the services of this worker are kept, among others' perhaps."""
        if worker.standing is Standing.LOADING:
            return self._loading.get(worker.plugin_id, self._provided)
        return self._provided

    def _own(self, worker: Registrant) -> dict[str, Provided]:
        """What this worker has provided."""
        place = self._place_of(worker)
        return {n: p for n, p in place.items() if p.provider.id == worker.plugin_id}

    def _check(self, worker: Registrant, params: ProvideService) -> None:
        plugin_id = worker.plugin_id
        if not worker.standing.may_register:
            on_trial = worker.standing is Standing.TRIAL
            raise Superseded(plugin_id, f"service {params.name}", on_trial=on_trial)
        own = self._own(worker)
        refusal = ""
        if params.name in own:
            refusal = "it is provided already: withdraw it first"
        elif owner := self._owner(params.name, plugin_id):
            refusal = f"the name is taken by plugin {owner!r}: choose another one"
        elif len(own) >= _MAX_SERVICES:
            refusal = f"a plugin may provide {_MAX_SERVICES} services"
        elif sum(len(p.entries) for p in own.values()) + len(params.methods) > _MAX_METHODS:
            refusal = f"the services of a plugin may have {_MAX_METHODS} methods together"
        if refusal:
            raise OfferRefused(f"service {params.name}", refusal)

    def _owner(self, name: str, plugin_id: str) -> str:
        """Which other plugin has the name, or is about to."""
        provided = self._provided.get(name)
        if provided is not None and provided.provider.id != plugin_id:
            return provided.provider.id
        for other, services in self._loading.items():
            if name in services and other != plugin_id:
                return other
        return ""

    def __iter__(self) -> Iterator[Service]:
        return (provided.service for provided in self._provided.values())
