"""A host of the command's own, for one call or one check."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from plughost.catalog.discovery import Discovered
from plughost.config import HostConfig, Restart
from plughost.errors import NotRunning, PlughostError
from plughost.exchange.calls import CallContext
from plughost.host import Host
from plughost.rpc.calls import ProgressCallback

from .background import stop_at_once
from .configuration import Configuration
from .control import ToolInfo
from .problems import CommandFailed
from .status import tools_of
from .ungranted import Ungranted

__all__ = ["LocalHost", "host_for_once"]


@asynccontextmanager
async def host_for_once(
    folders: Sequence[Path], config: HostConfig, *, there: Discovered | None = None
) -> AsyncIterator[Host]:
    """A host that restarts nothing, and whose end waits for no call that was given up.

    Without a folder it runs what is on the search path. `there` is what was found already.
    """
    logging.getLogger("plughost").addHandler(logging.NullHandler())
    plugins = {name: replace(plugin, restart=None) for name, plugin in config.plugins.items()}
    config = replace(config, restart=Restart(mode="never"), plugins=plugins)
    async with Host(folders or None, config, there=there) as host:
        try:
            yield host
        finally:
            with anyio.move_on_after(config.limits.grace, shield=True) as wait:
                for plugin in host.plugins.values():
                    for worker in plugin.workers:
                        await worker.channel.drained()
            if wait.cancelled_caught:
                stop_at_once(host)


class LocalHost:
    """A host in this process, with the methods of `ControlClient` that a call needs."""

    def __init__(self, host: Host, folders: Sequence[Path], file: Path | None) -> None:
        self._host = host
        self._folders = folders
        self._file = file

    @classmethod
    @asynccontextmanager
    async def start(cls, configuration: Configuration) -> AsyncIterator["LocalHost"]:
        """A host as it is configured."""
        folders = configuration.folders
        async with host_for_once(folders, configuration.host()) as host:
            yield cls(host, folders, configuration.file)

    async def tools(self, plugin_id: str = "") -> list[ToolInfo]:
        return tools_of(self._host, plugin_id)

    async def call(
        self,
        tool: str,
        params: Mapping[str, Any],
        timeout: float | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> Any:
        context = CallContext(timeout=timeout, caller="plughost call", on_progress=on_progress)
        try:
            return await self._host.call(tool, params, context=context)
        except PlughostError as exc:
            raise self._explained(exc) from None

    async def stream(
        self,
        tool: str,
        params: Mapping[str, Any],
        timeout: float | None = None,
        on_progress: ProgressCallback | None = None,
    ) -> AsyncGenerator[Any, None]:
        context = CallContext(timeout=timeout, caller="plughost call", on_progress=on_progress)
        async with self._host.stream(tool, params, context=context) as items:
            async for item in items:
                yield item

    def _explained(self, error: PlughostError) -> Exception:
        if isinstance(error, NotRunning) and error.plugin_id in self._host.plugins:
            missing = self._host.plugin(error.plugin_id).policy.missing
            lacks = Ungranted(error.plugin_id, missing, self._folders, self._file)
            if lacks.needed:
                return CommandFailed(lacks.problem())
        return error
