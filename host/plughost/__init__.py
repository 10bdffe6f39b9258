"""Run plugins that you do not trust: one supervised worker process each.

>>> from plughost import Host
>>> async with Host(["plugins"]) as host:  # doctest: +SKIP
...     await host.call("text-tools.count", {"text": "three small words"})
"""

from plughost_protocol import __version__

from .config import HostConfig, Limits, PluginConfig, Restart, Totals
from .errors import (
    CallTimeout,
    HostMisuse,
    InvalidParams,
    ManifestError,
    NotRunning,
    Overloaded,
    PermissionDenied,
    PlughostError,
    ProtocolViolation,
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
from .supervision.logbook import LogEntry

__all__ = [
    "CallContext",
    "CallTimeout",
    "Cause",
    "Host",
    "HostConfig",
    "HostMisuse",
    "HostedPlugin",
    "InvalidParams",
    "Limits",
    "LogEntry",
    "ManifestError",
    "NotRunning",
    "Outcome",
    "Overloaded",
    "PermissionDenied",
    "PlughostError",
    "PluginConfig",
    "ProtocolViolation",
    "Restart",
    "StartFailed",
    "State",
    "TooDeep",
    "Tool",
    "ToolError",
    "Totals",
    "UnknownPlugin",
    "UnknownTool",
    "WorkerDied",
    "WorkerExit",
    "__version__",
]
