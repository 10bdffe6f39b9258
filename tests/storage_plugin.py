"""A plugin that does with its storage what a test says, and a host for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from plughost import CallContext, Host, HostConfig, Rates
from plughost_protocol import encode

from .conftest import trusting

__all__ = ["ASKS", "PLUGIN", "config", "running"]

# A plugin whose one tool does with its storage what the test says.
PLUGIN: Final = """
    import asyncio, datetime
    import msgspec
    from plughost_sdk import HostError, Plugin, ToolError

    plugin = Plugin()

    @plugin.tool(idempotent=True)
    async def ask(packed: bytes) -> object:
        method, args, options = msgspec.msgpack.decode(packed)
        try:
            return await getattr(plugin.api.storage, method)(*args, **options)
        except HostError as exc:
            raise ToolError(str(exc), code=exc.code) from exc

    @plugin.tool
    def steal(path: str) -> str:
        try:
            with open(path, "rb") as file:
                return repr(file.read(16))
        except OSError as exc:
            return type(exc).__name__

    @plugin.tool
    def ask_in_a_thread(key: str, value: str) -> object:
        plugin.api.blocking.storage.set(key, value)
        return plugin.api.blocking.storage.get(key)

    class Place(msgspec.Struct):
        name: str

    @plugin.tool
    async def get_typed(key: str) -> str:
        try:
            found = await plugin.api.storage.get(key, [], type=list[Place])
        except msgspec.ValidationError as exc:
            return str(exc)
        return ",".join(place.name for place in found)

    @plugin.tool
    async def fill(count: int, size: int) -> int:
        async def one(number: int) -> bool:
            try:
                await plugin.api.storage.set(f"{number:04}", bytes(size))
            except HostError as exc:
                if exc.code != "quota_exceeded":
                    raise
                return False
            return True
        done = 0
        for first in range(0, count, 20):
            done += sum(await asyncio.gather(*map(one, range(first, min(first + 20, count)))))
        return done

    @plugin.tool
    async def odd(kind: str) -> None:
        loop = []
        loop.append(loop)
        values = {
            "object": object(), "huge": 2**70, "half": "\\ud800", "loop": loop,
            "when": datetime.datetime.now(datetime.UTC), "set": {1, 2},
        }
        try:
            if kind in values:
                await plugin.api.storage.set("k", values[kind])
            elif kind == "ext":
                from msgspec.msgpack import Ext
                await plugin.api.storage.set("k", Ext(5, b"x"))
            elif kind == "key":
                await plugin.api.storage.set("\\ud800", 1)
            elif kind == "user":
                await plugin.api.storage.get("k", scope="user", user="\\udfff")
        except HostError as exc:
            raise ToolError(str(exc), code=exc.code) from exc
"""
ASKS: Final = ["tools:register", "storage:read", "storage:write"]

Ask: TypeAlias = Callable[..., Any]


def config(state: Path, **settings: Any) -> HostConfig:
    return trusting(state_folder=state, rates=Rates(operations=None), **settings)


@asynccontextmanager
async def running(folder: Path, config: HostConfig) -> AsyncIterator[tuple[Host, Ask]]:
    """A host, and what asks the storage of its plugin `notes`."""
    async with Host([folder], config) as host:
        assert not host.problems

        async def ask(method: str, *args: Any, **options: Any) -> Any:
            plugin = options.pop("plugin", "notes")
            context = CallContext(user_id=options.pop("caller", ""))
            packed = encode([method, args, options])
            return await host.call(f"{plugin}.ask", {"packed": packed}, context=context)

        yield host, ask
