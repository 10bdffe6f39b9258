"""Deletes its own folder while it runs, after moving elsewhere."""

import os
import shutil
from pathlib import Path

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def move(to: str) -> str:
    os.chdir(to)
    return str(Path.cwd())


@plugin.tool
async def delete() -> list[str]:
    shutil.rmtree(Path(__file__).parent)
    return os.listdir(Path(__file__).parent.parent)  # noqa: PTH208 - a name is enough


@plugin.tool
async def hello() -> str:
    return "hello"


@plugin.tool
async def die() -> None:
    os._exit(1)
