"""Hooks of plugins: method names, and what their parameters and results look like.

These structs are msgpack maps, so that a later version may add a field.
"""

from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta, Raw, Struct

from .contract import Seconds

__all__ = [
    "HOOKS_COLLECT",
    "HOOKS_LIST",
    "HOOKS_REGISTER",
    "HOOKS_UNREGISTER",
    "HOOK_METHOD",
    "CollectAnswers",
    "HookAnswer",
    "HookInfo",
    "HookPosition",
    "ListHooks",
    "OnFailure",
    "RegisterHook",
    "RunHook",
    "UnregisterHook",
    "WireToolCall",
]

# From the host to a worker.
HOOK_METHOD: Final = "hook"
"""Runs one hook. Parameters are a `RunHook`; answers with a `HookAnswer`."""

# From a worker to the host.
HOOKS_REGISTER: Final = "hooks.register"
HOOKS_UNREGISTER: Final = "hooks.unregister"
HOOKS_LIST: Final = "hooks.list"
"""Answers with a list of `HookInfo`: the plugin's own."""
HOOKS_COLLECT: Final = "hooks.collect"
"""Emits an event. Answers with a list of arrays: a plugin's id, and what it answered."""

OnFailure: TypeAlias = Literal["open", "closed"]
HookPosition: TypeAlias = Literal["first", "plain", "last"]
HookId: TypeAlias = Annotated[int, Meta(ge=1, lt=2**31)]

_NIL: Final = Raw(b"\xc0")


class RegisterHook(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `hooks.register`."""

    id: HookId
    """The worker's own number for it: never used twice by one worker."""
    hook: Annotated[str, Meta(min_length=1, max_length=64)]
    position: HookPosition = "plain"
    only: Annotated[str, Meta(max_length=200)] = ""
    """A pattern of the events, or of the tools, that it is for; empty for all."""
    on_failure: OnFailure | None = None
    timeout: Seconds | None = None


class UnregisterHook(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `hooks.unregister`. What is not there is no error."""

    id: HookId


class ListHooks(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `hooks.list`: none."""


class CollectAnswers(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parameters of `hooks.collect`."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    data: Raw = _NIL
    first: bool = False
    """Ask no further once there is an answer."""


class HookInfo(Struct, frozen=True):
    """A hook as it stands."""

    hook: str
    position: HookPosition
    only: str
    on_failure: OnFailure
    timeout: float
    """In seconds."""
    runs: int
    failures: int


class RunHook(Struct, frozen=True, omit_defaults=True):
    """The parameters of `hook`."""

    id: int
    given: Raw = _NIL
    """A `WireEvent`, a `WireToolCall`, a map, or nil: as the hook is."""


class WireToolCall(Struct, frozen=True, omit_defaults=True):
    """A call of a tool, as middleware sees it."""

    tool: str
    params: Raw
    result: Raw = _NIL
    """In `after_response`."""
    caller: str = ""
    user_id: str = ""
    request_id: str = ""


class HookAnswer(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a hook answers. Without any field: all stays as it is."""

    value: bytes = b""
    """Encoded: new data, parameters or result, or an answer. Empty where there is none."""
    stop: bool = False
    """The event goes no further."""
    refused: Annotated[str, Meta(max_length=2000)] = ""
    """Why the event or the call is refused."""
