"""The plugins, as services need them that call back into them."""

from typing import Any, Protocol

from plughost_protocol import CallMeta

__all__ = ["PluginCaller"]


class PluginCaller(Protocol):
    """Calls what a plugin has registered, in whichever worker it has at the moment."""

    def active(self, plugin_id: str) -> bool:
        """Whether the plugin takes calls now."""

    async def call(
        self,
        plugin_id: str,
        method: str,
        params: object,
        *,
        label: str,
        timeout: float | None = None,
        meta: CallMeta | None = None,
        wait: bool = True,
    ) -> Any:
        """The answer of a handler, such as `task:refresh`; `label` names it in errors.

        `timeout` is seconds; None takes the plugin's own, and none is longer than the operator's
        total. A worker that restarts is waited for, unless `wait` is false. Raises `ToolError`,
        `CallTimeout`, `WorkerDied`, `NotRunning`, `Overloaded`.
        """
