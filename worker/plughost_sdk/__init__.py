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
from .events import Event, on
from .hooks import HookInfo, ToolRequest, ToolResponse, hook
from .http import HttpError, HttpHeaders, HttpResponse, HttpStream
from .link import HostLink
from .manifest import Manifest
from .memory import FoundMemory
from .plugin import Plugin
from .scheduler import TaskInfo, task
from .services import Service, ServiceInfo, service
from .tools import Tool, tool
from .users import User

__all__ = [
    "CallCancelled",
    "CurrentCall",
    "Event",
    "FoundMemory",
    "HookInfo",
    "HostError",
    "HostLink",
    "HttpError",
    "HttpHeaders",
    "HttpResponse",
    "HttpStream",
    "Manifest",
    "PermissionDenied",
    "Plugin",
    "PluginAPI",
    "PluginMistake",
    "RateLimited",
    "Service",
    "ServiceInfo",
    "TaskInfo",
    "Tool",
    "ToolError",
    "ToolRequest",
    "ToolResponse",
    "User",
    "current_call",
    "hook",
    "on",
    "service",
    "task",
    "tool",
]
