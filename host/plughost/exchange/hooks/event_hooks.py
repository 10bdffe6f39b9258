"""The hooks that events pass: filters, validation, and those that answer them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from plughost.exchange.chain import current_chain
from plughost.exchange.events.errors import EventRefused
from plughost.exchange.events.event import Event
from plughost.exchange.events.names import plain_name
from plughost.text import clean_line
from plughost_protocol.hooks import HookAnswer

from .given import GivenEvent
from .registry import APPLICATION, Hook
from .runner import HookRunner, callers, decoded, within

__all__ = ["EventHookChain", "HookResult"]


@dataclass(frozen=True, slots=True)
class HookResult:
    """What one plugin's hook answered."""

    plugin: str
    """Its id; `(app)` for the application's own."""
    value: Any


class EventHookChain:
    """What the bus asks of hooks: its `EventHooks`."""

    def __init__(self, runner: HookRunner, max_size: int) -> None:
        """`max_size` is that of an event's data, in bytes."""
        self._runner = runner
        self._registry = runner.registry
        self._max_size = max_size

    async def pass_event(self, event: Event) -> Event | None:
        """The event as the filters leave it, once it is validated; None where one stopped it.

        The host's own events are not asked about. Raises `EventRefused`, `HookFailed`.
        """
        name = plain_name(event.name)
        end = self._runner.now() + self._runner.config.total
        for hook in self._others("filter_event", event, name):
            passed: Event | None = event
            passed = await self._runner.run(
                hook, GivenEvent(event), event.meta, end, partial(self._filtered, event), passed
            )
            if passed is None:
                hook.stats.stopped += 1
                return None
            event = passed
        for hook in self._others("validate_event", event, name):
            refused = await self._runner.run(hook, GivenEvent(event), event.meta, end, _refusal, "")
            if refused:
                hook.stats.stopped += 1
                raise EventRefused(event.name, f"plugin {hook.owner!r}: {clean_line(refused)}")
        return event

    async def handled(self, event: Event) -> None:
        """Have an event handled that was taken; nobody waits for the answers."""
        await self.collect(event)

    def missed(self, event: Event) -> None:
        """Count an event that no hook was asked to handle, as too many waited for it."""
        for hook in self._registry.for_event("handle_event", plain_name(event.name)):
            hook.stats.missed += 1

    async def collect(self, event: Event, *, first: bool = False) -> list[HookResult]:
        """What the hooks answer that is not None, in their order; or only the first of it."""
        end = self._runner.now() + self._runner.config.total
        results: list[HookResult] = []
        for hook in self._registry.for_event("handle_event", plain_name(event.name)):
            value = await self._runner.run(
                hook, GivenEvent(event), event.meta, end, self._answered, None
            )
            if value is not None:
                results.append(HookResult(hook.owner, value))
                if first:
                    break
        return results

    def _others(self, kind: str, event: Event, name: str) -> Iterable[Hook]:
        """The hooks of those that did not emit it: what a hook emits does not lead back to it."""
        hooks = self._registry.for_event(kind, name)
        if not hooks:
            return hooks
        inside = callers(current_chain())
        return [
            hook
            for hook in hooks
            if hook.owner != event.source
            and not (hook.owner == APPLICATION and APPLICATION in inside)
        ]

    def _filtered(self, event: Event, answer: HookAnswer) -> Event | None:
        if answer.stop:
            return None
        if not answer.value:
            return event
        within(answer.value, self._max_size, "EventsConfig.max_size")
        decoded(answer.value)  # those who get it need not fear it
        return replace(event, raw=answer.value)

    def _answered(self, answer: HookAnswer) -> Any:
        if not answer.value:
            return None
        within(answer.value, self._max_size, "EventsConfig.max_size")
        return decoded(answer.value)


def _refusal(answer: HookAnswer) -> str:
    return answer.refused
