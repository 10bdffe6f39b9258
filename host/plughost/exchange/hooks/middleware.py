"""The hooks round calls of tools."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from plughost.errors import CallTimeout
from plughost.exchange.calls import CallContext
from plughost.exchange.tools import ToolEntry
from plughost.text import clean_line
from plughost_protocol import CallMeta, encode
from plughost_protocol.hooks import HookAnswer

from .errors import CallRefused
from .given import GivenCall
from .registry import Hook
from .runner import HookRunner, as_mapping, callers, decoded, within

__all__ = ["Middleware"]

Params: TypeAlias = Mapping[str, Any]
Send: TypeAlias = Callable[[ToolEntry, Params, CallContext, float], Awaitable[Any]]

_SETTING = "HooksConfig.max_size"


class Middleware:
    """Runs `before_request` and `after_response`. Asked only while there are such hooks.

    A plugin's hooks see neither the calls that it makes itself, nor those that come from them.
    """

    def __init__(self, runner: HookRunner) -> None:
        self._runner = runner
        self._registry = runner.registry
        self._config = runner.config

    @property
    def is_wanted(self) -> bool:
        """Whether there are such hooks."""
        return bool(self._registry.of("before_request") or self._registry.of("after_response"))

    async def call(
        self,
        entry: ToolEntry,
        params: Params,
        context: CallContext | None,
        wanted: float,
        source: str,
        send: Send,
    ) -> Any:
        """The result of `send`, between the hooks: `wanted` seconds at most for all of it.

        `source` is the plugin that calls, empty for the application. Raises what `send` raises,
        `CallTimeout` where the hooks use all of the time up, `CallRefused`, `HookFailed`.
        """
        context = context or CallContext()
        now = self._runner.now
        total = min(context.timeout or math.inf, wanted, entry.times.total)
        end = now() + total
        params, _ = await self.before(entry, params, context, source, end)
        left = end - now()
        if left <= 0:
            raise CallTimeout(entry.label, total)
        value = await send(entry, params, context, left)
        hooks = self._hooks("after_response", entry, context, source)
        if hooks:
            given = _given(entry, params, context)
            value = await self._after(hooks, entry, given, value, context, end)
        return value

    async def before(
        self,
        entry: ToolEntry,
        params: Params,
        context: CallContext | None,
        source: str = "",
        end: float = math.inf,
    ) -> tuple[Params, CallContext]:
        """The parameters that the tool is called with, which its schema accepts, and what goes
        with the call.

        Raises `InvalidParams`, `CallRefused`, `HookFailed`.
        """
        context = context or CallContext()
        hooks = self._hooks("before_request", entry, context, source)
        if not hooks:
            return params, context
        given = _given(entry, params, context)

        def use(answer: HookAnswer) -> str:
            if answer.value and not answer.refused:
                within(answer.value, self._config.max_size, _SETTING)
                changed = as_mapping(answer.value)
                given.change(params=entry.encode(changed))
            return answer.refused

        await self._run(hooks, given, context, end, use)
        return as_mapping(given.params) if given.is_changed else params, context

    async def _after(
        self,
        hooks: list[Hook],
        entry: ToolEntry,
        given: GivenCall,
        value: Any,
        context: CallContext,
        end: float,
    ) -> Any:
        given.result = encode(value)

        def use(answer: HookAnswer) -> str:
            if answer.value:
                within(answer.value, self._config.max_size, _SETTING)
                entry.check_result(decoded(answer.value))
                given.change(result=answer.value)
            return ""

        await self._run(hooks, given, context, end, use)
        return decoded(given.result) if given.is_changed else value

    async def _run(
        self,
        hooks: list[Hook],
        given: GivenCall,
        context: CallContext,
        end: float,
        use: Callable[[HookAnswer], str],
    ) -> None:
        """One after the other. Raises `CallRefused`, `HookFailed`."""
        end = min(end, self._runner.now() + self._config.total)
        meta = CallMeta(
            caller=context.caller,
            user_id=context.user_id,
            request_id=context.request_id,
            trace=context.trace,
        )
        given.limit = self._config.max_size
        for hook in hooks:
            refused = await self._runner.run(hook, given, meta, end, use, "")
            if refused:
                hook.stats.stopped += 1
                raise CallRefused(given.tool, hook.owner, clean_line(refused))

    def _hooks(self, kind: str, entry: ToolEntry, context: CallContext, source: str) -> list[Hook]:
        hooks = self._registry.for_tool(kind, entry.label)
        if not hooks:
            return []
        inside = callers(context.caller)
        return [hook for hook in hooks if hook.owner != source and hook.owner not in inside]


def _given(entry: ToolEntry, params: Params, context: CallContext) -> GivenCall:
    return GivenCall(
        entry.label, entry.encode(params), context.caller, context.user_id, context.request_id
    )
