"""What hooks are given: in the form of the wire, and as the application's own hooks see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec import Raw

from plughost.errors import PlughostError
from plughost.exchange.events.event import Event
from plughost_protocol import decode_value, encode
from plughost_protocol.hooks import WireToolCall

__all__ = [
    "GivenCall",
    "GivenEvent",
    "GivenMapping",
    "HookSubject",
    "NotShown",
    "ToolRequest",
    "ToolResponse",
]


class NotShown(PlughostError):
    """Raised when something is too large to be shown to a hook, through no fault of the hook's."""


class HookSubject(Protocol):
    """Something that a hook is run on."""

    @property
    def wire(self) -> Raw:
        """For a worker."""

    @property
    def object(self) -> Any:
        """For the application: a copy of its own."""


@dataclass(slots=True)
class ToolRequest:
    """A call of a tool that is about to be made, for `before_request`."""

    tool: str
    """`PLUGIN.TOOL`."""
    params: dict[str, Any]
    """To be changed."""
    caller: str
    """The chain of calls that led here; empty for the application's own."""
    user_id: str
    request_id: str


@dataclass(slots=True)
class ToolResponse:
    """A call of a tool that went well, for `after_response`."""

    tool: str
    params: dict[str, Any]
    """As the tool got them."""
    result: Any
    """To be changed."""
    caller: str
    user_id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class GivenMapping:
    """A mapping, or nothing at all."""

    value: Mapping[str, Any] | None = None

    @property
    def wire(self) -> Raw:
        return Raw(encode(self.value))

    @property
    def object(self) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class GivenEvent:
    """An event."""

    event: Event

    @property
    def wire(self) -> Raw:
        return Raw(encode(self.event.wire))

    @property
    def object(self) -> Event:
        return self.event


@dataclass(slots=True)
class GivenCall:
    """A call of a tool; parameters and result are encoded."""

    tool: str
    params: bytes
    caller: str
    user_id: str
    request_id: str
    result: bytes | None = None
    limit: int = 0
    """Bytes of what it carries; beyond, no hook is shown it."""
    is_changed: bool = False
    """Whether a hook has changed what it is about: the result, or else the parameters."""

    @property
    def wire(self) -> Raw:
        self._check()
        result = Raw(encode(None) if self.result is None else self.result)
        return Raw(
            encode(
                WireToolCall(
                    self.tool,
                    Raw(self.params),
                    result,
                    self.caller,
                    self.user_id,
                    self.request_id,
                )
            )
        )

    @property
    def object(self) -> ToolRequest | ToolResponse:
        self._check()
        params = decode_value(self.params)
        if self.result is None:
            return ToolRequest(self.tool, params, self.caller, self.user_id, self.request_id)
        result = decode_value(self.result)
        return ToolResponse(self.tool, params, result, self.caller, self.user_id, self.request_id)

    def change(self, *, params: bytes | None = None, result: bytes | None = None) -> None:
        """What a hook gave in return."""
        self.params = self.params if params is None else params
        self.result = self.result if result is None else result
        self.is_changed = True

    def _check(self) -> None:
        size = len(self.params) + len(self.result or b"")
        if size > self.limit:
            raise NotShown(
                f"was not asked: the call carries {size} bytes, over HooksConfig.max_size"
            )
