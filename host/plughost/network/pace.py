"""How often something may happen."""

__all__ = ["Pace"]


class Pace:
    """A token bucket. The clock is the caller's, in seconds."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Seconds until there is a token; 0 when there was one, which is then used up."""
        earned = 0.0 if self._at is None else (now - self._at) * self._per_second
        self._at = now
        self._tokens = min(self._tokens + earned, self._burst)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_second
