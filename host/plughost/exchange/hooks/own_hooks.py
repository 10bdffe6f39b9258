"""The application's own hooks: what they return, as the answers of a hook."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from plughost.errors import HostMisuse
from plughost.exchange.events.event import Event
from plughost_protocol import encode
from plughost_protocol.hooks import HookAnswer

from .given import HookSubject, ToolRequest, ToolResponse

__all__ = ["run_callback"]

_MAX_REASON: Final = 1000  # characters

_Callback = Callable[..., Any]


async def run_callback(callback: _Callback, hook: str, given: HookSubject) -> HookAnswer:
    """Run one. Raises what it raises, where that is no refusal."""
    return await _RUN.get(hook, _plain)(callback, given.object)


async def _call(callback: _Callback, *args: object) -> Any:
    result = callback(*args)
    return await result if inspect.isawaitable(result) else result


async def _plain(callback: _Callback, given: object) -> HookAnswer:
    result = await (_call(callback) if given is None else _call(callback, given))
    return HookAnswer() if result is None else HookAnswer(encode(result))


async def _filter(callback: _Callback, event: Event) -> HookAnswer:
    result = await _call(callback, event)
    if result is None:
        return HookAnswer(stop=True)
    if isinstance(result, Event):
        return HookAnswer() if result.raw == event.raw else HookAnswer(result.raw)
    return HookAnswer(encode(result))


async def _validate(callback: _Callback, event: Event) -> HookAnswer:
    try:
        await _call(callback, event)
    except Exception as exc:  # noqa: BLE001 - this is how it refuses
        return _refused(exc)
    return HookAnswer()


async def _before(callback: _Callback, request: ToolRequest) -> HookAnswer:
    was = encode(request.params)
    try:
        result = await _call(callback, request)
    except Exception as exc:  # noqa: BLE001 - this is how it refuses
        return _refused(exc)
    params = request.params if result is None or result is request else result
    if not isinstance(params, Mapping):
        raise HostMisuse(f"before_request returns parameters, not {type(result).__name__}")
    now = encode(params)
    return HookAnswer() if now == was else HookAnswer(now)


async def _after(callback: _Callback, response: ToolResponse) -> HookAnswer:
    was = encode(response.result)
    result = await _call(callback, response)
    now = encode(response.result if result is None or result is response else result)
    return HookAnswer() if now == was else HookAnswer(now)


def _refused(exc: Exception) -> HookAnswer:
    return HookAnswer(refused=str(exc)[:_MAX_REASON] or type(exc).__name__)


_RUN: Final[Mapping[str, Callable[[_Callback, Any], Awaitable[HookAnswer]]]] = {
    "filter_event": _filter,
    "validate_event": _validate,
    "before_request": _before,
    "after_response": _after,
}
