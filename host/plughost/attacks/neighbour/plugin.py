"""A plugin like any other, for the attacker to aim at."""

import ctypes
import secrets
from typing import Any

from plughost_sdk import Plugin

plugin = Plugin()

_secret = ctypes.create_string_buffer(secrets.token_hex(16).encode(), 32)


@plugin.tool
async def tick(number: int) -> int:
    """The number after this one."""
    return number + 1


@plugin.tool
async def secret() -> dict[str, Any]:
    """What it keeps, and where in its memory."""
    return {"address": ctypes.addressof(_secret), "text": _secret.raw.decode()}
