"""What can go wrong with an event, towards whoever emits it or subscribes."""

from plughost.errors import PlughostError
from plughost_protocol import ErrorCode

__all__ = [
    "EventRefused",
    "InvalidEvent",
    "NoReply",
    "NoSubscriber",
    "NotYourEvent",
    "TooManyHops",
]


class InvalidEvent(PlughostError):
    """Raised when an event's name, pattern or data cannot be."""

    code = ErrorCode.INVALID_PARAMS

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"event {name}: {problem}" if name else problem)
        self.problem = problem


class EventRefused(PlughostError):
    """Raised when an event may not be emitted: it is the host's own, or a hook refuses it."""

    code = ErrorCode.EVENT_REFUSED

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"event {name} is refused: {reason}")
        self.name = name
        self.reason = reason


class TooManyHops(PlughostError):
    """Raised when events cause events without end, such as two plugins that answer each other."""

    code = ErrorCode.TOO_DEEP

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"event {name} is the last of {limit} events that caused one another: "
            "a handler must not emit what leads back to it"
        )
        self.name = name
        self.limit = limit


class NoSubscriber(PlughostError):
    """Raised when a request is sent by an event that nobody receives."""

    code = ErrorCode.NO_SUBSCRIBER

    def __init__(self, name: str) -> None:
        super().__init__(f"nobody subscribes to {name}, so that nobody can reply")
        self.name = name


class NoReply(PlughostError):
    """Raised when everybody who received a request has failed at it."""

    code = ErrorCode.NO_REPLY

    def __init__(self, name: str, receivers: int) -> None:
        super().__init__(
            f"nobody replies to {name}: each of its {receivers} subscribers failed, "
            "and the log of their plugins says how"
        )
        self.name = name


class NotYourEvent(PlughostError):
    """Raised when a plugin replies to an event that it did not receive, or that wants no reply."""

    code = ErrorCode.NOT_YOUR_EVENT

    def __init__(self, event_id: str) -> None:
        super().__init__(
            f"event {event_id} wants no reply of yours: reply to one that a handler of yours got"
        )
        self.event_id = event_id
