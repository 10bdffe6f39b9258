"""What hooks do to whoever emits an event or calls a tool."""

from plughost.errors import PlughostError
from plughost_protocol import ErrorCode

__all__ = ["CallRefused", "HookFailed"]


class HookFailed(PlughostError):
    """Raised when a hook that is `closed` failed: the event is stopped, or the call refused.

    Its plugin's log tells more than `reason`, which is the host's own word.
    """

    code = ErrorCode.HOOK_FAILED

    def __init__(self, plugin_id: str, hook: str, reason: str) -> None:
        super().__init__(
            f"hook {hook} of plugin {plugin_id!r} {reason}, and is closed: nothing passes without "
            "it. Its log says more; disable the plugin to do without it"
        )
        self.plugin_id = plugin_id
        self.hook = hook
        self.reason = reason


class CallRefused(PlughostError):
    """Raised when middleware refuses a call of a tool, for the `reason` that it gives."""

    code = ErrorCode.CALL_REFUSED

    def __init__(self, tool: str, plugin_id: str, reason: str) -> None:
        super().__init__(f"the call of {tool} is refused by plugin {plugin_id!r}: {reason}")
        self.tool = tool
        self.plugin_id = plugin_id
        self.reason = reason
