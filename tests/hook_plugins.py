"""Plugins with hooks, for the tests of hooks."""

import textwrap
from pathlib import Path
from typing import Any, Final

import pytest

from .conftest import MakePlugin

BOTH: Final = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
ALL: Final = [
    "tools:register",
    "tools:execute",
    "hooks:register",
    "events:subscribe",
    "events:emit",
]

_HEAD: Final = """
import asyncio, os, time
from plughost_sdk import Plugin, HostError, current_call
plugin = Plugin()
"""


def hooking(make_plugin: MakePlugin, plugin_id: str, code: str, **manifest: Any) -> Path:
    """Write a plugin that may do all with hooks and events; `plugin` is there in its code."""
    fields = {"permissions": ALL} | manifest
    return make_plugin(plugin_id, _HEAD + textwrap.dedent(code), **fields)
