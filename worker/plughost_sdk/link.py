"""The wire below the API, and what the host may call over it."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from msgspec import Raw

__all__ = ["Handler", "HostLink", "HostPart", "PlainHandler"]


class Handler(Protocol):
    """Something of the plugin's that the host calls by its method name."""

    @property
    def is_async(self) -> bool:
        """Whether it runs on the worker's loop; otherwise it runs in a thread."""

    @property
    def streams(self) -> bool:
        """Whether it gives an iterator of items."""

    def arguments(self, params: Raw) -> dict[str, Any]:
        """What to run it with. Raises `msgspec.ValidationError` where the parameters misfit."""

    def run(self, arguments: dict[str, Any]) -> Any:
        """Call it: what an async one gives is still to be awaited or iterated."""


class HostLink(Protocol):
    """The worker's connection, or a fake in a plugin's own tests."""

    @property
    def handlers(self) -> dict[str, Handler]:
        """What the host may call, by method name, such as `tool:count`."""

    async def request(self, method: str, params: object, timeout: float | None = None) -> Any:
        """The host's answer. Raises `HostError`, `PermissionDenied`, `RateLimited`."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function of the plugin's: async on the loop, blocking in a thread."""

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tell the caller of the running call how far it has come."""

    def run_blocking(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Run a coroutine on the worker's loop and wait for it, from a thread beside it."""


class HostPart:
    """One part of the API, such as `api.storage`. Its methods are plain `async def`."""

    def __init__(self, link: HostLink) -> None:
        self._link = link


class PlainHandler:
    """A function of one value, which the host's parameters are decoded to."""

    streams = False

    def __init__(self, function: Callable[[Any], Any], type: Any = Any) -> None:
        self.is_async = inspect.iscoroutinefunction(function)
        self._function = function
        self._decode = msgspec.msgpack.Decoder(type).decode

    def arguments(self, params: Raw) -> dict[str, Any]:
        """The value. Raises `msgspec.ValidationError` where the parameters are not its type."""
        return {"value": self._decode(params)}

    def run(self, arguments: dict[str, Any]) -> Any:
        """Call the function: what an async one gives is still to be awaited."""
        return self._function(arguments["value"])
