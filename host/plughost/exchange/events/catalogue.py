"""The events that the host emits itself, which no plugin can forge."""

from typing import Final

__all__ = ["HOST_EVENTS", "RESERVED", "is_reserved"]

HOST_EVENTS: Final = {
    "system:startup": "the host runs, and every plugin has been started or has failed",
    "system:shutdown": "the host is about to stop its plugins, which have some time to handle it",
    "plugin:loaded": "a plugin was loaded: `plugin`, `version`; also `plugin_loaded`",
    "plugin:unloaded": "a plugin was unloaded: `plugin`; also `plugin_unloaded`",
    "plugin:reloaded": (
        "a plugin was loaded anew, while it served or after it was unloaded: `plugin`, `version`"
    ),
    "plugin:reload_failed": (
        "a plugin was to be loaded anew and was not: `plugin`, `reason`; what ran goes on"
    ),
    "plugin:crashed": "a plugin's worker died and is started again: `plugin`, `reason`",
    "plugin:restarted": "it is loaded again after that: `plugin`, `version`",
    "plugin:asleep": (
        "a plugin that is started at its first use has no worker, and gets one when somebody needs "
        "it: `plugin`"
    ),
    "plugin:awake": "it has a worker: `plugin`",
    "plugin:canary_began": (
        "a new version takes a [share of the calls](embedding.md#canaries): `plugin`, `version`, "
        "`share`"
    ),
    "plugin:canary_promoted": (
        "it is about to take the old one's place: `plugin`, `version`, `reason`; "
        "`plugin:reloaded` follows"
    ),
    "plugin:canary_rolled_back": "the old one goes on without it: `plugin`, `version`, `reason`",
    "plugin:enabled": "a plugin that was disabled takes calls again: `plugin`",
    "plugin:configured": "a plugin has new values: `plugin`, `keys`, the names of up to 100 values "
    "that were given or dropped, and `outcome`: `taken`, `restarted` or `kept`",
    "plugin:error": "a plugin cannot be started, or was given up: `plugin`, `reason`",
    "tool:before_execute": "a tool is about to be called: `tool`, `plugin`, `caller`",
    "tool:after_execute": "the call has ended: `tool`, `plugin`, `caller`, `duration` in "
    "milliseconds, `success`, and the `error`'s code where it failed; also `tool.executed`. "
    "Not for a call that was cancelled",
    "memory:created": "a [memory](services/memory.md) was added: what `search` gives of it, "
    "without its content",
    "memory:updated": "a memory was changed: the same",
    "scheduler:task_executed": "a [scheduled task](services/scheduler.md) has run: `plugin`, "
    "`task`, `name`, `started`, `duration` in milliseconds, `success`, and the `error` where it "
    "failed",
}
"""By name: when, and the fields of its data, as docs/events.md has it."""

RESERVED: Final = frozenset({"events"} | {name.partition(":")[0] for name in HOST_EVENTS})
"""First segments that no plugin emits, whatever it is granted."""


def is_reserved(plain_name: str) -> bool:
    """Whether the event is the host's own."""
    return plain_name.partition(".")[0] in RESERVED
