"""The plugins of one host that came out of texts: each is loaded, and forgotten with its end."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread

from plughost.config import HostConfig
from plughost.errors import HostMisuse

from .code_plugin import Permissions, code_plugin, drop_empty_folder
from .commands import DEADLINE, Commands
from .plugin import HostedPlugin
from .quarters import data_folder
from .roster import Roster
from .states import State

__all__ = ["CodePlugins"]


class CodePlugins:
    """Adds them to a roster, and takes them out of it."""

    def __init__(self, roster: Roster, commands: Commands, config: HostConfig) -> None:
        self._roster = roster
        self._commands = commands
        self._config = config

    async def load(
        self,
        name: str,
        code: str,
        permissions: Permissions,
        resources: Mapping[str, Any],
        values: Mapping[str, Any] | None,
    ) -> HostedPlugin:
        """Start one. Raises `HostMisuse`, and `StartFailed`, after which there is none."""
        if name in self._roster.plugins:
            raise HostMisuse(f"there is a plugin {name!r} already")
        made = code_plugin(name, code, permissions, resources, values, self._config)
        grants = made.config.grants
        around = replace(self._roster.surroundings, config=made.config, grants=lambda: grants)
        plugin = self._roster.add(made.found, around)
        try:
            await plugin.start()
        except BaseException:
            with anyio.CancelScope(shield=True):
                if self._roster.plugins.get(name) is plugin:  # nobody has unloaded it meanwhile
                    await self.unload(name)
            raise
        return plugin

    async def unload(self, name: str) -> None:
        """End one, and what needs it. Raises `HostMisuse` for a plugin that has files."""
        if self._roster.plugin(name).found.text is None:
            raise HostMisuse(f"plugin {name!r} did not come out of a text")
        await self.forget(await self._commands.unload(name, DEADLINE, cascade=True))

    async def forget(self, unloaded: Iterable[str]) -> None:
        """Keep nothing of those among these plugins that came out of a text."""
        for name in unloaded:
            plugin = self._roster.plugins.get(name)  # another command may have come first
            if plugin and plugin.found.text is not None and plugin.state is State.UNLOADED:
                self._roster.forget(plugin)
                await anyio.to_thread.run_sync(drop_empty_folder, data_folder(self._config, name))
