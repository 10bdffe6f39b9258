"""How often one plugin may ask something of the host."""

import math
from collections.abc import Callable, Mapping

from plughost.errors import RateLimited
from plughost.pace import Pace
from plughost.service_config import Rates

__all__ = ["RateLimiter"]


class RateLimiter:
    """The token buckets of one plugin: one for all services, and those of their own."""

    def __init__(self, plugin_id: str, rates: Rates, clock: Callable[[], float]) -> None:
        self.refused = 0
        """Operations that came too soon."""
        self._plugin_id = plugin_id
        self._clock = clock
        self._common = _bucket(rates.operations)
        self._own: Mapping[str, Pace | None] = {
            service: _bucket(rate) for service, rate in rates.services.items()
        }

    def take(self, service: str) -> None:
        """Use up one operation. Raises `RateLimited` where there is none."""
        bucket = self._own.get(service, self._common)
        if bucket is None:
            return
        wait = bucket.take(self._clock())
        if wait > 0:
            self.refused += 1
            # Rounded up to a millisecond: who waits for so long must not come too soon again.
            raise RateLimited(self._plugin_id, service, math.ceil(wait * 1000) / 1000)


def _bucket(a_minute: int | None) -> Pace | None:
    return None if a_minute is None else Pace(a_minute / 60, a_minute)
