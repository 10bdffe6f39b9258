"""What the numbers are: their units, and what they are compared with."""

from dataclasses import dataclass
from typing import Final

__all__ = ["CASES", "METRICS", "Metric", "metric"]


@dataclass(frozen=True)
class Metric:
    """One column of a case."""

    case: str
    key: str
    title: str
    unit: str
    references: tuple[str, ...]
    """Names of the peers that all others are divided by."""
    decimals: int = 0
    more_is_better: bool = False


METRICS: Final = (
    Metric("sequential", "p50_us", "p50", "us", ("raw",)),
    Metric("sequential", "p99_us", "p99", "us", ("raw",)),
    Metric(
        "in_flight",
        "calls_per_s",
        "64 in flight",
        "calls/s",
        ("rpyc", "process_pool"),
        more_is_better=True,
    ),
    Metric("echo_1mb", "mb_per_s", "echo of 1 MB", "MB/s", ("raw",), more_is_better=True),
    Metric("cold_start", "first_answer_ms", "to the first answer", "ms", ("process_pool",)),
    Metric("memory", "pss_mb", "PSS, worker", "MB", ("process_pool",), decimals=1),
    Metric("memory", "helpers_mb", "PSS, its helpers", "MB", (), decimals=1),
    Metric("host_cpu", "sequential_us", "sequential", "us/call", ("raw",), decimals=1),
    Metric("host_cpu", "in_flight_us", "64 in flight", "us/call", ("rpyc",), decimals=1),
)

CASES: Final = tuple(dict.fromkeys(metric.case for metric in METRICS))


def metric(case: str, key: str) -> Metric:
    """The metric of this name. Raises `LookupError`."""
    for found in METRICS:
        if (found.case, found.key) == (case, key):
            return found
    raise LookupError(f"no metric {case}.{key}")
