"""Where a worker stands among the workers of its plugin."""

from enum import StrEnum

__all__ = ["Standing"]


class Standing(StrEnum):
    """Whose registrations a worker's are."""

    LOADING = "loading"
    """It is being loaded: what it registers takes effect in one step, once it is active."""
    SERVING = "serving"
    """It is the plugin's worker: what it registers takes effect at once."""
    OUTGOING = "outgoing"
    """Another one has taken its place: it ends what it has begun, and registers nothing more."""
