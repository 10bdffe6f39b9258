"""What may be a plugin's id."""

import re
from typing import Final

__all__ = ["is_plugin_id"]

_ID: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


def is_plugin_id(text: str) -> bool:
    """Whether a plugin may be named so."""
    return _ID.fullmatch(text) is not None
