"""Services of plugins for plugins: method names, and what their parameters and results look like.

These structs are msgpack maps, so that a later version may add a field.
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Raw, Struct

from .contract import Seconds, ToolSpec

__all__ = [
    "SERVICES_CALL",
    "SERVICES_LIST",
    "SERVICES_PROVIDE",
    "SERVICES_WITHDRAW",
    "SERVICE_PREFIX",
    "CallService",
    "ListServices",
    "MethodSpec",
    "ProvideService",
    "ServiceInfo",
    "ServiceName",
    "WithdrawService",
]

# From the host to a worker.
SERVICE_PREFIX: Final = "service:"
"""`service:SERVICE.METHOD` runs a method of a service. Parameters are a map, as for a tool."""

# From a worker to the host.
SERVICES_PROVIDE: Final = "services.provide"
SERVICES_WITHDRAW: Final = "services.withdraw"
SERVICES_LIST: Final = "services.list"
"""Answers with a list of `ServiceInfo`: what the plugin may use."""
SERVICES_CALL: Final = "services.call"
"""Answers with the method's result."""

# Without a dot, so that `SERVICE.METHOD` is read in one way only.
ServiceName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*\Z", min_length=1, max_length=64)
]
# Such as can be written behind a dot, and as none that begins with `_`.
MethodName: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_]*\Z", min_length=1, max_length=64)
]
ParameterName: TypeAlias = Annotated[str, Meta(max_length=200)]
Text: TypeAlias = Annotated[str, Meta(max_length=10_000)]
_Asked: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]

_NO_ITEMS: Final = Raw(b"\x90")  # msgpack's empty array


class MethodSpec(ToolSpec, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A method of a service as its plugin describes it: as a tool, without a stream."""

    name: MethodName
    positional: Annotated[tuple[ParameterName, ...], Meta(max_length=100)] = ()
    """The parameters that may be given by position, in order."""


class ProvideService(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `services.provide`."""

    name: ServiceName
    methods: Annotated[list[MethodSpec], Meta(min_length=1, max_length=200)]
    description: Text = ""


class WithdrawService(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `services.withdraw`."""

    name: ServiceName


class ListServices(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `services.list`: none."""


class CallService(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `services.call`."""

    service: _Asked
    method: _Asked
    params: Raw
    """A map: the parameters that are given by name."""
    positional: Raw = _NO_ITEMS
    """An array: those that are given by position."""
    timeout: Seconds | None = None


class ServiceInfo(Struct, frozen=True):
    """A service that a plugin may use."""

    name: str
    plugin: str
    """The id of the plugin that provides it."""
    description: str
    methods: dict[str, str]
    """Their descriptions, by name."""
