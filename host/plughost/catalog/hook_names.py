"""The hooks that there are, and what a plugin may do that is granted one."""

from typing import Final

__all__ = ["HOOK", "HOOK_WORDS"]

HOOK_WORDS: Final = {
    "startup": "be called when the application has started",
    "shutdown": "be called before the application stops",
    "context": "be told its configuration, its permissions and the ids of the running plugins",
    "filter_event": "change and stop the events that it may receive, whoever emits them",
    "validate_event": "refuse the events that it may receive, whoever emits them",
    "handle_event": "answer the events that it may receive",
    "collect_metrics": "report metrics of its own",
    "before_request": "see, change and refuse the parameters of every call of every plugin's tools",
    "after_response": "see and change the parameters and results of every call of every plugin's "
    "tools",
}
"""By name, in words that follow `it may`."""


class _HookScope:
    """The scope of the permission for hooks: the name of one."""

    def parse(self, text: str) -> str:
        if text not in HOOK_WORDS:
            raise ValueError(f"there is no hook {text[:60]!r}; there are {', '.join(HOOK_WORDS)}")
        return text

    def matches(self, scope: str, value: str) -> bool:
        return scope == value

    def includes(self, wide: str, narrow: str) -> bool:
        return wide == narrow


HOOK: Final = _HookScope()
