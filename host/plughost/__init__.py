"""Run plugins that you do not trust: one supervised worker process each.

>>> from plughost import Host
>>> async with Host(["plugins"]) as host:  # doctest: +SKIP
...     await host.call("text-tools.count", {"text": "three small words"})
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from plughost_protocol import __version__

if TYPE_CHECKING:
    from .blocking import BlockingHost
    from .config import (
        GRANT_ALL_ASKED,
        HostConfig,
        Layer,
        Limits,
        PluginConfig,
        Restart,
        Sandbox,
        Totals,
    )
    from .errors import (
        CallTimeout,
        ConfigError,
        HostMisuse,
        InvalidParams,
        ManifestError,
        NotRunning,
        Overloaded,
        PermissionDenied,
        PlughostError,
        ProtocolViolation,
        QuotaExceeded,
        RateLimited,
        StartFailed,
        TooDeep,
        ToolError,
        UnknownPlugin,
        UnknownTool,
        WorkerDied,
    )
    from .exchange.calls import CallContext, Outcome
    from .exchange.tools import Tool
    from .exits import Cause, WorkerExit
    from .host import Host
    from .lifecycle.plugin import HostedPlugin
    from .lifecycle.states import State
    from .policy.grants_file import load_grants
    from .service_config import (
        EventsConfig,
        HooksConfig,
        HttpConfig,
        MemoryConfig,
        Rates,
        SchedulerConfig,
        StorageConfig,
        UsersConfig,
    )
    from .supervision.logbook import LogEntry

__all__ = [
    "GRANT_ALL_ASKED",
    "BlockingHost",
    "CallContext",
    "CallTimeout",
    "Cause",
    "ConfigError",
    "EventsConfig",
    "HooksConfig",
    "Host",
    "HostConfig",
    "HostMisuse",
    "HostedPlugin",
    "HttpConfig",
    "InvalidParams",
    "Layer",
    "Limits",
    "LogEntry",
    "ManifestError",
    "MemoryConfig",
    "NotRunning",
    "Outcome",
    "Overloaded",
    "PermissionDenied",
    "PlughostError",
    "PluginConfig",
    "ProtocolViolation",
    "QuotaExceeded",
    "RateLimited",
    "Rates",
    "Restart",
    "Sandbox",
    "SchedulerConfig",
    "StartFailed",
    "State",
    "StorageConfig",
    "TooDeep",
    "Tool",
    "ToolError",
    "Totals",
    "UnknownPlugin",
    "UnknownTool",
    "UsersConfig",
    "WorkerDied",
    "WorkerExit",
    "__version__",
    "load_grants",
]

# All of it takes 0.3 s to import, of which the command needs little. Where each name comes from
# at run time; a test holds it against the imports above.
_HOMES = {
    "blocking": "BlockingHost",
    "config": "GRANT_ALL_ASKED HostConfig Layer Limits PluginConfig Restart Sandbox Totals",
    "errors": (
        "CallTimeout ConfigError HostMisuse InvalidParams ManifestError NotRunning Overloaded "
        "PermissionDenied PlughostError ProtocolViolation QuotaExceeded RateLimited StartFailed "
        "TooDeep ToolError UnknownPlugin UnknownTool WorkerDied"
    ),
    "exchange.calls": "CallContext Outcome",
    "exchange.tools": "Tool",
    "exits": "Cause WorkerExit",
    "host": "Host",
    "lifecycle.plugin": "HostedPlugin",
    "lifecycle.states": "State",
    "policy.grants_file": "load_grants",
    "service_config": (
        "EventsConfig HooksConfig HttpConfig MemoryConfig Rates SchedulerConfig StorageConfig "
        "UsersConfig"
    ),
    "supervision.logbook": "LogEntry",
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
