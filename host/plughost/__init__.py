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
    from .catalog.discovery import Discovered, Found, Refused, discover
    from .config import (
        GRANT_ALL_ASKED,
        HealthConfig,
        HostConfig,
        Layer,
        Limits,
        PluginConfig,
        Restart,
        Sandbox,
        SecretText,
        Totals,
    )
    from .errors import (
        CallTimeout,
        CommandTimeout,
        ConfigError,
        HostMisuse,
        InvalidConfig,
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
        StillNeeded,
        Superseded,
        TooDeep,
        ToolError,
        UndeclaredDependency,
        UnknownPlugin,
        UnknownService,
        UnknownTool,
        WorkerDied,
    )
    from .exchange.calls import CallContext, Outcome
    from .exchange.events.errors import (
        EventRefused,
        InvalidEvent,
        NoReply,
        NoSubscriber,
        NotYourEvent,
        TooManyHops,
    )
    from .exchange.events.event import Event
    from .exchange.hooks.errors import CallRefused, HookFailed
    from .exchange.hooks.event_hooks import HookResult
    from .exchange.hooks.given import ToolRequest, ToolResponse
    from .exchange.hooks.registry import HookInfo, HookStats
    from .exchange.services import Service
    from .exchange.tools import Tool
    from .exits import Cause, WorkerExit
    from .host import Host
    from .hot_reload_config import HotReload
    from .lifecycle.canary import Canary, CanaryStatus
    from .lifecycle.commands import CommandOutcome
    from .lifecycle.configuring import Configured
    from .lifecycle.health import Health, HealthStatus
    from .lifecycle.plugin import HostedPlugin
    from .lifecycle.source_changes import ReloadOutcome
    from .lifecycle.states import State
    from .memory_store import Embedder, Memory, MemoryMatch, MemoryStore, MemoryType
    from .policy.grants_file import load_grants
    from .service_config import (
        EventsConfig,
        HooksConfig,
        HttpConfig,
        MemoryConfig,
        Rates,
        SchedulerConfig,
        Secret,
        StorageConfig,
        UsersConfig,
    )
    from .settings.load import load_config
    from .supervision.logbook import LogEntry
    from .user_directory import User, UserDirectory

__all__ = [
    "GRANT_ALL_ASKED",
    "BlockingHost",
    "CallContext",
    "CallRefused",
    "CallTimeout",
    "Canary",
    "CanaryStatus",
    "Cause",
    "CommandOutcome",
    "CommandTimeout",
    "ConfigError",
    "Configured",
    "Discovered",
    "Embedder",
    "Event",
    "EventRefused",
    "EventsConfig",
    "Found",
    "Health",
    "HealthConfig",
    "HealthStatus",
    "HookFailed",
    "HookInfo",
    "HookResult",
    "HookStats",
    "HooksConfig",
    "Host",
    "HostConfig",
    "HostMisuse",
    "HostedPlugin",
    "HotReload",
    "HttpConfig",
    "InvalidConfig",
    "InvalidEvent",
    "InvalidParams",
    "Layer",
    "Limits",
    "LogEntry",
    "ManifestError",
    "Memory",
    "MemoryConfig",
    "MemoryMatch",
    "MemoryStore",
    "MemoryType",
    "NoReply",
    "NoSubscriber",
    "NotRunning",
    "NotYourEvent",
    "Outcome",
    "Overloaded",
    "PermissionDenied",
    "PlughostError",
    "PluginConfig",
    "ProtocolViolation",
    "QuotaExceeded",
    "RateLimited",
    "Rates",
    "Refused",
    "ReloadOutcome",
    "Restart",
    "Sandbox",
    "SchedulerConfig",
    "Secret",
    "SecretText",
    "Service",
    "StartFailed",
    "State",
    "StillNeeded",
    "StorageConfig",
    "Superseded",
    "TooDeep",
    "TooManyHops",
    "Tool",
    "ToolError",
    "ToolRequest",
    "ToolResponse",
    "Totals",
    "UndeclaredDependency",
    "UnknownPlugin",
    "UnknownService",
    "UnknownTool",
    "User",
    "UserDirectory",
    "UsersConfig",
    "WorkerDied",
    "WorkerExit",
    "__version__",
    "discover",
    "load_config",
    "load_grants",
]

# All of it takes 0.3 s to import, of which the command needs little. Where each name comes from
# at run time; a test holds it against the imports above.
_HOMES = {
    "blocking": "BlockingHost",
    "catalog.discovery": "Discovered Found Refused discover",
    "config": (
        "GRANT_ALL_ASKED HealthConfig HostConfig Layer Limits PluginConfig Restart Sandbox "
        "SecretText Totals"
    ),
    "errors": (
        "CallTimeout CommandTimeout ConfigError HostMisuse InvalidConfig InvalidParams "
        "ManifestError NotRunning Overloaded PermissionDenied PlughostError ProtocolViolation "
        "QuotaExceeded RateLimited StartFailed StillNeeded Superseded TooDeep ToolError "
        "UndeclaredDependency UnknownPlugin UnknownService UnknownTool WorkerDied"
    ),
    "exchange.calls": "CallContext Outcome",
    "exchange.events.errors": (
        "EventRefused InvalidEvent NoReply NoSubscriber NotYourEvent TooManyHops"
    ),
    "exchange.events.event": "Event",
    "exchange.hooks.errors": "CallRefused HookFailed",
    "exchange.hooks.event_hooks": "HookResult",
    "exchange.hooks.given": "ToolRequest ToolResponse",
    "exchange.hooks.registry": "HookInfo HookStats",
    "exchange.services": "Service",
    "exchange.tools": "Tool",
    "exits": "Cause WorkerExit",
    "host": "Host",
    "hot_reload_config": "HotReload",
    "lifecycle.canary": "Canary CanaryStatus",
    "lifecycle.commands": "CommandOutcome",
    "lifecycle.health": "Health HealthStatus",
    "lifecycle.configuring": "Configured",
    "lifecycle.plugin": "HostedPlugin",
    "lifecycle.source_changes": "ReloadOutcome",
    "lifecycle.states": "State",
    "memory_store": "Embedder Memory MemoryMatch MemoryStore MemoryType",
    "policy.grants_file": "load_grants",
    "service_config": (
        "EventsConfig HooksConfig HttpConfig MemoryConfig Rates SchedulerConfig Secret "
        "StorageConfig UsersConfig"
    ),
    "settings.load": "load_config",
    "supervision.logbook": "LogEntry",
    "user_directory": "User UserDirectory",
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
