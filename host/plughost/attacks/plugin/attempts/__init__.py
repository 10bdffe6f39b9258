"""All attempts, by name. They need ctypes and the rest of the standard library, nothing else."""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .native import Answer, NotHere, let_go

__all__ = ["attempt", "find"]

# Imported when they are needed: most attempts need little, and some of what others need is slow.
_MODULES = (
    "files",
    "granted",
    "victims",
    "kernel",
    "ipc",
    "machine",
    "identity",
    "network",
    "processes",
    "resources",
    "proxy",
)


_MOST = 1_000_000  # characters

# The same attempt, with more granted.
_GRANTED = re.compile("-where-(processes-are|a-host-is)-granted$")


def find(name: str) -> Callable[[dict[str, Any]], Answer]:
    """The function that tries an attack."""
    function = _GRANTED.sub("", name).replace("-", "_")
    modules = (import_module(f".{module}", __name__) for module in _MODULES)
    found = next(module for module in modules if function in vars(module))
    attempt: Callable[[dict[str, Any]], Answer] = getattr(found, function)
    return attempt


def attempt(name: str, target: dict[str, Any]) -> dict[str, Any]:
    """Try one, and tell whether it got anything, and what, or the errors.

    `here` is false where this machine does not even have what is attacked.
    """
    let_go()
    try:
        got, detail = find(name)(target)
    except NotHere as exc:
        return {"got": False, "detail": str(exc), "here": False}
    return {"got": got, "detail": detail[:_MOST], "here": True}
