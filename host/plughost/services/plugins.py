"""The plugins, as services need them that call back into them."""

from typing import Any, Literal, Protocol, TypeAlias

from plughost_protocol import CallMeta

__all__ = ["PluginCaller", "WakenBy"]

WakenBy: TypeAlias = Literal["event", "hook", "schedule"]
"""What may start a plugin that sleeps, beside calls of its tools and services."""


class PluginCaller(Protocol):
    """Calls what a plugin has registered, in whichever worker it has at the moment."""

    def active(self, plugin_id: str) -> bool:
        """Whether the plugin takes calls now."""

    def wake(self, plugin_id: str, by: WakenBy) -> bool:
        """Whether the plugin takes calls now, or is started because of this: it sleeps, and this
        may wake it."""

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
        total. A worker that restarts is waited for, unless `wait` is false; the one of a plugin
        that sleeps always is. Raises `ToolError`,
        `CallTimeout`, `WorkerDied`, `NotRunning`, `Overloaded`.
        """
