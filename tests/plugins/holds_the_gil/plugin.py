"""Stays in C with the GIL held, so that no other thread of the worker runs."""

import ctypes
import re

from plughost_sdk import Plugin

plugin = Plugin()


@plugin.tool
def regex() -> bool:
    """A pattern that takes 2**40 steps, which the regular expression engine never leaves."""
    return re.match(r"(a+)+$", "a" * 40 + "b") is not None


@plugin.tool
async def sleep(seconds: int) -> int:
    """`PyDLL` calls C without letting go of the GIL; a signal wakes it, and it sleeps again."""
    while left := int(ctypes.PyDLL(None).sleep(seconds)):
        seconds = left
    return 0
