"""All samples of a run, and the questions that tables, goals and the plot ask of them."""

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.metrics import METRICS, Metric
from benchmarks.peers import PEERS
from benchmarks.runner import Sample

__all__ = ["Results", "RowName", "Spread"]


@dataclass(frozen=True)
class RowName:
    """Whose numbers a row holds."""

    peer: str
    variant: str = ""
    """Empty for the peer as it is; else the way in which it was called."""

    @property
    def label(self) -> str:
        """For people."""
        peer = next(entry.label for entry in PEERS if entry.name == self.peer)
        return f"{peer}, {self.variant}" if self.variant else peer


@dataclass(frozen=True)
class Spread:
    """One metric of one row, over the rounds."""

    median: float
    low: float
    high: float
    rounds: int


class Results:
    """The samples of one run."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = list(samples)

    def rows(self, case: str) -> list[RowName]:
        """The rows that have numbers, in the order of `PEERS`."""
        found = {
            RowName(sample.step.peer, variant)
            for sample in self.samples
            for variant in sample.rows
            if sample.step.case == case
        }
        order = [entry.name for entry in PEERS]
        return sorted(found, key=lambda row: (order.index(row.peer), row.variant))

    def errors(self, case: str, peer: str) -> list[str]:
        """What went wrong, an entry for each round that failed."""
        return [
            sample.error
            for sample in self.samples
            if sample.error and (sample.step.case, sample.step.peer) == (case, peer)
        ]

    def spread(self, metric: Metric, row: RowName) -> Spread | None:
        """The metric over the rounds, None where it was not measured."""
        values = list(self._by_round(metric, row).values())
        if not values:
            return None
        return Spread(statistics.median(values), min(values), max(values), len(values))

    def ratio(self, metric: Metric, row: RowName, reference: str) -> float | None:
        """How many times the reference's value: the median over rounds that have both.

        Within a round, since the machine may have been slower in one of them.
        """
        base = self._by_round(metric, RowName(reference))
        own = self._by_round(metric, row)
        ratios = [own[number] / base[number] for number in own if base.get(number)]
        return statistics.median(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        """Everything, samples first: the rest can be computed from them."""
        return {
            "samples": [asdict(sample) for sample in self.samples],
            "summary": [
                {"case": metric.case, "metric": metric.key, "unit": metric.unit}
                | asdict(row)
                | asdict(spread)
                | {
                    f"x_{reference}": self.ratio(metric, row, reference)
                    for reference in metric.references
                }
                for metric in METRICS
                for row in self.rows(metric.case)
                if (spread := self.spread(metric, row)) is not None
            ],
        }

    def _by_round(self, metric: Metric, row: RowName) -> dict[int, float]:
        return {
            sample.step.round: sample.rows[row.variant][metric.key]
            for sample in self.samples
            if (sample.step.case, sample.step.peer) == (metric.case, row.peer)
            and row.variant in sample.rows
        }
