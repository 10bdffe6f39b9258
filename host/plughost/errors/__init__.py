"""What can go wrong, by whose fault it is. Exceptions take facts and write their own sentence."""

from .calls import (
    CallTimeout,
    InvalidParams,
    NotRunning,
    Overloaded,
    ProtocolViolation,
    TooDeep,
    ToolError,
    WorkerDied,
)
from .life import CommandTimeout, StartFailed, StillNeeded
from .refused import PermissionDenied, QuotaExceeded, RateLimited, Superseded, UndeclaredDependency
from .root import HostMisuse, PlughostError
from .unknown import UnknownPlugin, UnknownService, UnknownTool
from .written import ConfigError, InvalidConfig, ManifestError

__all__ = [
    "CallTimeout",
    "CommandTimeout",
    "ConfigError",
    "HostMisuse",
    "InvalidConfig",
    "InvalidParams",
    "ManifestError",
    "NotRunning",
    "Overloaded",
    "PermissionDenied",
    "PlughostError",
    "ProtocolViolation",
    "QuotaExceeded",
    "RateLimited",
    "StartFailed",
    "StillNeeded",
    "Superseded",
    "TooDeep",
    "ToolError",
    "UndeclaredDependency",
    "UnknownPlugin",
    "UnknownService",
    "UnknownTool",
    "WorkerDied",
]
