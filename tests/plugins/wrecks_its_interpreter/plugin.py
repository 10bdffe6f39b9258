"""Replaces what the worker itself is built from."""

import builtins
import os
import sys
import threading
import time
from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
async def replace_builtins() -> str:
    names: Any = builtins
    for name in ("len", "isinstance", "type", "getattr", "next", "str", "print"):
        setattr(names, name, None)
    return "replaced"


@plugin.tool
async def empty_sys_modules() -> str:
    sys.modules.clear()
    return "emptied"


@plugin.tool
async def replace_os() -> str:
    module: Any = os
    module.write = lambda fd, data: len(data)
    return "silenced"


@plugin.tool
async def hurt_threads() -> str:
    module: Any = threading
    module.get_ident = lambda: 0
    return "confused"


@plugin.tool
async def no_recursion() -> str:
    sys.setrecursionlimit(60)
    return "shallow"


@plugin.tool
async def stop_the_clock() -> str:
    module: Any = time
    module.monotonic = lambda: 0.0
    return "stopped"


@plugin.tool
async def hello() -> str:
    return "hello"
