"""Calls another plugin's tool without the permission."""

from plughost_sdk import PermissionDenied, Plugin

plugin = Plugin()


@plugin.tool
async def call() -> str:
    try:
        await plugin.api.call("steady.tick", {"number": 1})
    except PermissionDenied as exc:
        return f"{exc.permission}: {exc}"
    return "done"


@plugin.tool
async def call_and_let_it_raise() -> int:
    return int(await plugin.api.call("steady.tick", {"number": 1}))
