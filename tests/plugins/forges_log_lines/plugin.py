"""Writes what would forge a line, or paint over one, in a terminal or a log file."""

import logging
import sys

from plughost_sdk import Plugin, ToolError

plugin = Plugin()
FORGERY = "ok\nERROR:plughost:\x1b[2K\x1b[1;31mall plugins died\x1b[0m\r\x07\u202egnp.exe\u2028end"


@plugin.tool
async def log() -> None:
    logging.getLogger("x").warning(FORGERY, extra={"fields": {FORGERY: FORGERY}})


@plugin.tool
def write() -> None:
    sys.stdout.write(FORGERY + "\n")
    sys.stderr.write(FORGERY + "\n")


@plugin.tool
async def fail() -> None:
    raise ToolError(FORGERY, code="x\x1b[31m")
