"""The host service `tools`: register and take back one's own, execute those of others."""

from collections.abc import Awaitable, Callable
from typing import Any

from plughost.services.router import Request, ServiceMethod
from plughost_protocol import (
    TOOLS_EXECUTE,
    TOOLS_REGISTER,
    TOOLS_UNREGISTER,
    ExecuteTool,
    ToolSpec,
    UnregisterTool,
)

__all__ = ["tool_methods"]


def tool_methods(
    register: Callable[[Request, ToolSpec], None],
    unregister: Callable[[Request, str], None],
    execute: Callable[[Request, ExecuteTool], Awaitable[Any]],
    full_name: Callable[[str], str],
) -> tuple[ServiceMethod, ...]:
    """The service's table, over the exchange's functions.

    `full_name` gives a tool's one name for every name it can be called by: the permission is
    held against that.
    """

    async def on_register(request: Request, spec: ToolSpec) -> None:
        register(request, spec)

    async def on_unregister(request: Request, params: UnregisterTool) -> None:
        unregister(request, params.name)

    return (
        ServiceMethod(TOOLS_REGISTER, "tools:register", ToolSpec, on_register),
        ServiceMethod(TOOLS_UNREGISTER, "tools:register", UnregisterTool, on_unregister),
        ServiceMethod(
            TOOLS_EXECUTE,
            "tools:execute",
            ExecuteTool,
            execute,
            scope=lambda params: full_name(params.tool),
        ),
    )
