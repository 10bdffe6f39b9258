"""Plugins that come in versions, for the tests of swaps."""

import json
from pathlib import Path
from typing import Any, Final

__all__ = ["ANSWERS", "HOLDS", "Versions"]

ANSWERS: Final = """
import asyncio
from plughost_sdk import Plugin

plugin = Plugin()
VERSION = {version}

@plugin.tool
async def version(number: int) -> list:
    return [number, VERSION]
"""
"""Answers with what it is given, and its version."""

HOLDS: Final = """
import asyncio
from pathlib import Path
from plughost_sdk import Plugin

plugin = Plugin()
VERSION = {version}

@plugin.tool
def version() -> int:
    return VERSION

@plugin.tool
async def hold(name: str) -> list:
    await plugin.api.storage.set(name, "began")
    while await plugin.api.storage.get(name) == "began":
        await asyncio.sleep(0.01)
    return [name, VERSION]

@plugin.tool
async def release(name: str) -> None:
    await plugin.api.storage.set(name, "go")

@plugin.tool
async def began(name: str) -> bool:
    return await plugin.api.storage.get(name) == "began"
"""
"""Holds a call until it is released, asking its host all the time."""


class Versions:
    """A plugin's folder, of which one version after the other is written."""

    def __init__(self, folder: Path, plugin_id: str = "demo", **manifest: Any) -> None:
        self.root = folder / plugin_id
        self.root.mkdir(parents=True)
        self.fields = {
            "id": plugin_id,
            "name": plugin_id,
            "permissions": ["tools:register"],
            **manifest,
        }

    def write(self, version: int, code: str = ANSWERS, **manifest: Any) -> None:
        """What the next load or reload finds."""
        fields = self.fields | {"version": f"{version}.0.0"} | manifest
        (self.root / "manifest.json").write_text(json.dumps(fields))
        (self.root / "plugin.py").write_text(code.replace("{version}", str(version)))
