"""The table of hooks: what each is given, and what follows from what it answers."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from plughost_protocol.hooks import OnFailure

__all__ = ["HOOKS", "HookKind", "Subject"]


class Subject(Enum):
    """What a hook is about."""

    NONE = "none"
    EVENT = "event"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class HookKind:
    """One row of the table."""

    name: str
    subject: Subject
    given: str
    """What it is called with, for the docs."""
    answer: str
    """What is made of what it answers, for the docs."""
    on_failure: OnFailure = "open"
    """Where it names no policy of its own."""
    may_close: bool = False
    """Whether there is something that its failure can stop."""


HOOKS: Final = {
    kind.name: kind
    for kind in (
        HookKind(
            "context",
            Subject.NONE,
            "a mapping: `config`, `host_version`, `plugins` (the ids of those that run), "
            "`permissions` (what the plugin has); before `startup`",
            "",
        ),
        HookKind(
            "startup",
            Subject.NONE,
            "nothing, when all plugins have been started; a plugin or a worker that starts later "
            "gets it once it is active",
            "kept in `host.hooks.started`",
        ),
        HookKind("shutdown", Subject.NONE, "nothing, before the host stops its plugins", ""),
        HookKind(
            "filter_event",
            Subject.EVENT,
            "the [event](events.md)",
            "the event itself: it passes, with its `data` changed or not; anything else is its "
            "new data; None stops it",
            may_close=True,
        ),
        HookKind(
            "validate_event",
            Subject.EVENT,
            "the event, as the filters leave it",
            "what it raises refuses the event, and whoever emits it gets the text as the reason",
            "closed",
            may_close=True,
        ),
        HookKind(
            "handle_event",
            Subject.EVENT,
            "the event, once it is taken",
            "what is not None is collected where the event was emitted by `collect`; otherwise "
            "dropped",
        ),
        HookKind(
            "before_request",
            Subject.TOOL,
            "a call of a tool: `tool`, `params`, `caller`, `user_id`, `request_id`",
            "None or the call itself: its `params` are taken as they then are; a mapping: new "
            "parameters; what it raises refuses the call",
            may_close=True,
        ),
        HookKind(
            "after_response",
            Subject.TOOL,
            "the same, and the `result`",
            "None or the call itself: its `result` is taken as it then is; anything else is the "
            "result",
            may_close=True,
        ),
        HookKind(
            "collect_metrics", Subject.NONE, "nothing", "a mapping, merged under the plugin's id"
        ),
    )
}
"""By name."""
