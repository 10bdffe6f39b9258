"""The hooks of the host's own life: context, startup, shutdown, metrics."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import anyio

from plughost_protocol import CallMeta, __version__
from plughost_protocol.hooks import HookAnswer

from .event_hooks import HookResult
from .given import GivenMapping
from .registry import Hook
from .runner import HookRunner, as_mapping, decoded, within

__all__ = ["Moments"]

_log: Final = logging.getLogger("plughost.hooks")

_NO_METRICS: Final[Mapping[str, Any]] = {}


class Moments:
    """Runs the hooks that no event and no call leads to."""

    def __init__(self, runner: HookRunner, active: Callable[[], list[str]]) -> None:
        """`active` gives the ids of the plugins that run."""
        self.started: list[HookResult] = []
        """What `startup` hooks have answered."""
        self.has_started = False
        self._runner = runner
        self._registry = runner.registry
        self._config = runner.config
        self._active = active

    async def startup(self) -> None:
        """All plugins have been started."""
        end = self._runner.now() + self._config.life_total
        self.has_started = True
        await self._give_context(self._registry.of("context"), end)
        await self._start(self._registry.of("startup"), end)

    async def welcome(self, plugin_id: str) -> None:
        """A plugin is active that was not at the start."""
        try:
            end = self._runner.now() + self._config.total
            await self._give_context(self._own("context", plugin_id), end)
            self.started = [result for result in self.started if result.plugin != plugin_id]
            await self._start(self._own("startup", plugin_id), end)
        except Exception:  # noqa: BLE001 - our bug: the host goes on
            _log.exception("the hooks of plugin %s could not be run", plugin_id)

    async def shutdown(self) -> None:
        """The plugins are about to be stopped."""
        if not self.has_started:
            return
        end = self._runner.now() + self._config.life_total
        for hook in self._registry.of("shutdown"):
            await self._runner.run(hook, GivenMapping(), CallMeta(), end, _nothing, None)

    async def collect_metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics of each plugin that has some, by its id."""
        end = self._runner.now() + self._config.total
        found: list[dict[str, Any]] = []
        hooks = self._registry.of("collect_metrics")

        async def ask(hook: Hook, metrics: dict[str, Any]) -> None:
            metrics.update(
                await self._runner.run(
                    hook, GivenMapping(), CallMeta(), end, self._metrics, _NO_METRICS
                )
            )

        # Side by side: who hangs keeps nobody else from being asked.
        async with anyio.create_task_group() as tasks:
            for hook in hooks:
                found.append({})
                tasks.start_soon(ask, hook, found[-1])
        merged: dict[str, dict[str, Any]] = {}
        for hook, metrics in zip(hooks, found, strict=True):
            if metrics:
                merged.setdefault(hook.owner, {}).update(metrics)
        return merged

    async def _give_context(self, hooks: Iterable[Hook], end: float) -> None:
        for hook in hooks:
            granted = () if hook.policy is None else hook.policy.granted
            context = GivenMapping(
                {
                    "host_version": __version__,
                    "plugins": self._active(),
                    "permissions": [str(permission) for permission in granted],
                }
            )
            await self._runner.run(hook, context, CallMeta(), end, _nothing, None)

    async def _start(self, hooks: Iterable[Hook], end: float) -> None:
        for hook in hooks:
            value = await self._runner.run(hook, GivenMapping(), CallMeta(), end, self._value, None)
            if value is not None:
                self.started.append(HookResult(hook.owner, value))

    def _metrics(self, answer: HookAnswer) -> Mapping[str, Any]:
        if not answer.value:
            return _NO_METRICS
        self._check_size(answer)
        return as_mapping(answer.value)

    def _value(self, answer: HookAnswer) -> Any:
        if not answer.value:
            return None
        self._check_size(answer)
        return decoded(answer.value)

    def _check_size(self, answer: HookAnswer) -> None:
        within(answer.value, self._config.metrics_size, "HooksConfig.metrics_size")

    def _own(self, kind: str, plugin_id: str) -> list[Hook]:
        return [hook for hook in self._registry.of(kind) if hook.owner == plugin_id]


def _nothing(_: HookAnswer) -> None:
    pass
