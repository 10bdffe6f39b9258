"""What plugin authors import: `from plughost_sdk import Plugin`."""

from .api import PluginAPI
from .calls import CurrentCall, current_call
from .errors import (
    CallCancelled,
    HostError,
    PermissionDenied,
    PluginMistake,
    RateLimited,
    ToolError,
)
from .link import HostLink
from .manifest import Manifest
from .plugin import Plugin
from .tools import Tool, tool

__all__ = [
    "CallCancelled",
    "CurrentCall",
    "HostError",
    "HostLink",
    "Manifest",
    "PermissionDenied",
    "Plugin",
    "PluginAPI",
    "PluginMistake",
    "RateLimited",
    "Tool",
    "ToolError",
    "current_call",
    "tool",
]
