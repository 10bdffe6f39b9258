"""The host service `tools`: register and take back one's own, execute those of others."""

from collections.abc import Awaitable, Callable
from typing import Any

from plughost.services.router import Request, ServiceMethod
from plughost.services.service import HostService
from plughost_protocol import (
    TOOLS_EXECUTE,
    TOOLS_REGISTER,
    TOOLS_UNREGISTER,
    ExecuteTool,
    ToolSpec,
    UnregisterTool,
)

__all__ = ["ToolService"]


class ToolService(HostService):
    """The service's table, over the exchange's functions."""

    def __init__(
        self,
        register: Callable[[Request, ToolSpec], None],
        unregister: Callable[[Request, str], None],
        execute: Callable[[Request, ExecuteTool], Awaitable[Any]],
        full_name: Callable[[str], str],
    ) -> None:
        """`full_name` gives a tool's one name for every name it can be called by: the permission
        is held against that."""
        self._register = register
        self._unregister = unregister
        self.methods = (
            ServiceMethod(
                TOOLS_REGISTER, "tools:register", ToolSpec, self._on_register, registers=True
            ),
            ServiceMethod(
                TOOLS_UNREGISTER,
                "tools:register",
                UnregisterTool,
                self._on_unregister,
                withdraws=True,
            ),
            ServiceMethod(
                TOOLS_EXECUTE,
                "tools:execute",
                ExecuteTool,
                execute,
                scope=lambda params: full_name(params.tool),
            ),
        )

    def _on_register(self, request: Request, spec: ToolSpec) -> None:
        self._register(request, spec)

    def _on_unregister(self, request: Request, params: UnregisterTool) -> None:
        self._unregister(request, params.name)
