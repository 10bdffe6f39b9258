"""`api.hooks`: take part in what the host does: events, calls of tools, its start and its end."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar

from msgspec import Raw, Struct, convert
from msgspec.msgpack import Decoder

from plughost_protocol import decode_value, encode
from plughost_protocol.events import WireEvent
from plughost_protocol.hooks import (
    HOOK_METHOD,
    HOOKS_COLLECT,
    HOOKS_LIST,
    HOOKS_REGISTER,
    HOOKS_UNREGISTER,
    CollectAnswers,
    HookAnswer,
    HookInfo,
    HookPosition,
    ListHooks,
    RegisterHook,
    RunHook,
    UnregisterHook,
    WireToolCall,
)

from .declarations import mark
from .errors import CallCancelled, HostError, PluginMistake
from .events import Event, Events
from .link import HostLink, HostPart, PlainHandler

__all__ = ["HookInfo", "HookOptions", "Hooks", "ToolRequest", "ToolResponse", "hook"]

HookHandler: TypeAlias = Callable[..., Any]
HookName: TypeAlias = Literal[
    "context",
    "startup",
    "shutdown",
    "filter_event",
    "validate_event",
    "handle_event",
    "before_request",
    "after_response",
    "collect_metrics",
]
OnFailure: TypeAlias = Literal["open", "closed"]
_Hooks: TypeAlias = list[HookInfo]
_Answers: TypeAlias = list[tuple[str, Any]]
F = TypeVar("F", bound=HookHandler)

_MAX_REASON: Final = 1000  # characters
_decode_event: Final = Decoder(WireEvent).decode
_decode_call: Final = Decoder(WireToolCall).decode


class HookOptions(Struct, frozen=True):
    """What `@plugin.hook` and `@hook` say of a handler; see `Hooks.register`."""

    name: HookName
    tryfirst: bool = False
    trylast: bool = False
    only: str = ""
    on_failure: OnFailure | None = None
    timeout: float | None = None


def hook(
    name: HookName,
    /,
    *,
    tryfirst: bool = False,
    trylast: bool = False,
    only: str = "",
    on_failure: OnFailure | None = None,
    timeout: float | None = None,
) -> Callable[[F], F]:
    """Mark a method of a `Plugin` subclass as a hook; options as for `Hooks.register`."""
    options = HookOptions(name, tryfirst, trylast, only, on_failure, timeout)
    return lambda target: mark(target, "hook", options)


class ToolRequest:
    """A call of a tool that is about to be made: `before_request` may change its `params`."""

    __slots__ = ("caller", "params", "request_id", "tool", "user_id")

    def __init__(self, wire: WireToolCall) -> None:
        self.tool = wire.tool
        """`PLUGIN.TOOL`."""
        self.params: dict[str, Any] = decode_value(wire.params)
        self.caller = wire.caller
        """The chain of calls that led here; empty where the application calls."""
        self.user_id = wire.user_id
        self.request_id = wire.request_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.tool}>"


class ToolResponse(ToolRequest):
    """A call of a tool that went well: `after_response` may change its `result`."""

    __slots__ = ("result",)

    def __init__(self, wire: WireToolCall) -> None:
        super().__init__(wire)
        self.result: Any = decode_value(wire.result)


class Hooks(HostPart):
    """Hooks run in order over all plugins: `tryfirst` ones, plain ones, `trylast` ones."""

    def __init__(self, link: HostLink, events: Events, config: Mapping[str, Any]) -> None:
        super().__init__(link)
        self._events = events
        self._config = config
        self._last_id = 0
        self._handlers: dict[int, tuple[str, HookHandler]] = {}

    def _configure(self, config: Mapping[str, Any]) -> None:
        """Give `context` hooks these values from now on."""
        self._config = config

    async def register(
        self,
        name: HookName,
        handler: HookHandler,
        *,
        tryfirst: bool = False,
        trylast: bool = False,
        only: str = "",
        on_failure: OnFailure | None = None,
        timeout: float | None = None,
    ) -> None:
        """Have `handler` called at a hook. It may be async, or block, in a thread.

        `docs/hooks.md` has what each hook is given and what is made of its answer. `only` is a
        pattern of the events or the tools that it is for. Where it fails, or does not answer
        within `timeout` seconds, an `open` hook is passed over, and a `closed` one stops the
        event or the call. Needs the permission `hooks:register` for the name, and for events
        `events:subscribe`: it sees those that the plugin may subscribe to.
        """
        if tryfirst and trylast:
            raise PluginMistake(f"hook {name!r}: tryfirst or trylast, not both")
        position: HookPosition = "first" if tryfirst else "last" if trylast else "plain"
        handlers = self._link.handlers
        if HOOK_METHOD not in handlers:
            handlers[HOOK_METHOD] = PlainHandler(self._run, RunHook)
        self._last_id = number = self._last_id + 1
        # Before the host knows of it: it may be run before the answer is here.
        self._handlers[number] = name, handler
        try:
            await self._link.request(
                HOOKS_REGISTER, RegisterHook(number, name, position, only, on_failure, timeout)
            )
        except BaseException:
            del self._handlers[number]
            raise

    async def unregister(self, name: HookName, handler: HookHandler | None = None) -> None:
        """Take back what `register` did for this hook: for `handler`, or for all."""
        for number, (known, function) in tuple(self._handlers.items()):
            # Not `is`: a bound method is a new object each time.
            if known == name and (handler is None or function == handler):
                del self._handlers[number]
                await self._link.request(HOOKS_UNREGISTER, UnregisterHook(number))

    async def list(self) -> _Hooks:
        """The plugin's own hooks, as the host has them."""
        return convert(await self._link.request(HOOKS_LIST, ListHooks()), _Hooks)

    async def collect(self, event: str, data: Any = None, *, first: bool = False) -> _Answers:
        """Emit an event, and return what `handle_event` hooks answer: plugin ids and values.

        With `first` none is asked after the first that answers. Needs and raises what
        `api.events.emit` does; an event that a hook stops has no answers.
        """
        params = CollectAnswers(event, Raw(encode(data)), first)
        return convert(await self._link.request(HOOKS_COLLECT, params), _Answers)

    async def _declare(self, function: HookHandler, options: HookOptions) -> None:
        """Register what `@plugin.hook` stands on."""
        await self.register(
            options.name,
            function,
            tryfirst=options.tryfirst,
            trylast=options.trylast,
            only=options.only,
            on_failure=options.on_failure,
            timeout=options.timeout,
        )

    # What the host asks

    async def _run(self, run: RunHook) -> HookAnswer:
        known = self._handlers.get(run.id)
        if known is None:  # taken back while it was on its way
            return HookAnswer()
        name, handler = known
        return await self._RUN.get(name, Hooks._run_plain)(self, handler, run.given)

    async def _run_plain(self, handler: HookHandler, _: Raw) -> HookAnswer:
        return _answer(await self._link.run(handler))

    async def _run_context(self, handler: HookHandler, given: Raw) -> HookAnswer:
        context = {"config": self._config, **decode_value(given)}
        return _answer(await self._link.run(handler, context))

    async def _run_filter(self, handler: HookHandler, given: Raw) -> HookAnswer:
        event = self._event(given)
        was = encode(event.data)
        result = await self._link.run(handler, event)
        if result is None:
            return HookAnswer(stop=True)
        return _changed(was, event.data if result is event else result)

    async def _run_validate(self, handler: HookHandler, given: Raw) -> HookAnswer:
        result = await self._run_refusing(handler, self._event(given))
        return result if isinstance(result, HookAnswer) else HookAnswer()

    async def _run_handle(self, handler: HookHandler, given: Raw) -> HookAnswer:
        return _answer(await self._link.run(handler, self._event(given)))

    async def _run_before(self, handler: HookHandler, given: Raw) -> HookAnswer:
        request = ToolRequest(_decode_call(given))
        was = encode(request.params)
        result = await self._run_refusing(handler, request)
        if isinstance(result, HookAnswer):
            return result
        return _changed(was, request.params if result is None or result is request else result)

    async def _run_after(self, handler: HookHandler, given: Raw) -> HookAnswer:
        response = ToolResponse(_decode_call(given))
        was = encode(response.result)
        result = await self._link.run(handler, response)
        kept = result is None or result is response
        return _changed(was, response.result if kept else result)

    async def _run_refusing(self, handler: HookHandler, given: object) -> Any:
        try:
            return await self._link.run(handler, given)
        # What went wrong with the host, or with the memory, is no refusal but a failure.
        except (HostError, CallCancelled, MemoryError):
            raise
        except Exception as exc:  # noqa: BLE001 - this is how a plugin refuses
            reason = str(exc).encode(errors="backslashreplace").decode()
            return HookAnswer(refused=reason[:_MAX_REASON] or type(exc).__name__)

    def _event(self, given: Raw) -> Event:
        return Event(self._events, _decode_event(given))

    _RUN: ClassVar[Mapping[str, Callable[["Hooks", HookHandler, Raw], Awaitable[HookAnswer]]]] = {
        "context": _run_context,
        "filter_event": _run_filter,
        "validate_event": _run_validate,
        "handle_event": _run_handle,
        "before_request": _run_before,
        "after_response": _run_after,
    }


def _answer(value: object) -> HookAnswer:
    return HookAnswer() if value is None else HookAnswer(encode(value))


def _changed(was: bytes, value: object) -> HookAnswer:
    now = encode(value)
    return HookAnswer() if now == was else HookAnswer(now)
