"""The attacker: one tool that tries one attack for real."""

from importlib import import_module
from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()

_attempts = import_module("attempts")  # beside this file, wherever the plugin lies


@plugin.tool
async def try_attack(name: str, target: dict[str, Any]) -> dict[str, Any]:
    """Try it, and tell what came of it. What it opened stays open until the next one.

    Async, so that the worker still has one thread: some calls fail in a process with more.
    """
    answer: dict[str, Any] = _attempts.attempt(name, target)
    return answer
