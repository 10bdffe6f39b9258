"""How often something may happen."""

__all__ = ["Pace"]


class Pace:
    """A token bucket. The clock is the caller's, in seconds; it begins full."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Seconds until there is a token; 0 when there was one, which is then used up."""
        self._earn(now)
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._per_second

    def spend(self, tokens: float = 1) -> None:
        """Use tokens up, whether or not there are so many: what is missing must be earned."""
        self._tokens -= tokens

    @property
    def is_spent(self) -> bool:
        """Whether nothing was left when it was last used."""
        return self._tokens <= 0

    def debt(self, now: float) -> float | None:
        """Seconds until what was spent is earned; None where there is something left."""
        self._earn(now)
        return None if self._tokens > 0 else -self._tokens / self._per_second

    def _earn(self, now: float) -> None:
        if self._at is not None:
            earned = (now - self._at) * self._per_second
            self._tokens = min(self._tokens + earned, self._burst)
        self._at = now
