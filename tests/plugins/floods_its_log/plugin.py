"""Logs without end through the SDK's logger, from a thread."""

import logging
import threading
from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()
_log = logging.getLogger("flood")


def _start(message: str, extra: dict[str, Any] | None = None) -> None:
    def run() -> None:
        for number in range(1_000_000):
            _log.warning(message, number, extra=extra)

    threading.Thread(target=run, daemon=True).start()


@plugin.tool
async def short() -> None:
    _start("line %d")


@plugin.tool
async def long() -> None:
    """Messages of 1 MB."""
    _start("%d " + "x" * 1_000_000)


@plugin.tool
async def fields() -> None:
    """Fields of 10 MB."""
    _start("line %d", {"fields": {"blob": "x" * 10_000_000}})


@plugin.tool
async def odd_fields() -> str:
    """Fields that are no plain values, and a message that is no text in UTF-8."""
    _log.warning("list", extra={"fields": {"items": [1, {"a": object()}]}})
    _log.warning("key", extra={"fields": {1: 2}})
    _log.warning("none", extra={"fields": None})
    _log.warning("half a character \ud800", extra={"fields": {"half": "\ud800"}})
    _log.warning("huge", extra={"fields": {"number": 10**30}})
    return "logged"
