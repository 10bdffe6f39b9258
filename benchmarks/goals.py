"""What plughost promises, as data. `python -m benchmarks --goals` fails when one is not kept."""

from dataclasses import dataclass
from typing import Final

from benchmarks.metrics import metric
from benchmarks.results import Results, RowName

__all__ = ["GOALS", "Goal", "Verdict", "judge"]


@dataclass(frozen=True)
class Goal:
    """A bound on one metric of plughost: absolute, or as a multiple of a peer's in the same run."""

    name: str
    case: str
    metric: str
    at_most: float | None = None
    at_least: float | None = None
    times: str = ""
    """The peer that the bound is a multiple of; empty for the metric's own unit."""
    variant: str = ""
    """The row of plughost's that is meant, where it has several."""


GOALS: Final = (
    Goal(
        "a call takes at most 2.2 times the bare pipe's round trip",
        "sequential",
        "p50_us",
        at_most=2.2,
        times="raw",
    ),
    Goal(
        "64 calls in flight: at least 1.5 times the calls of rpyc",
        "in_flight",
        "calls_per_s",
        at_least=1.5,
        times="rpyc",
    ),
    Goal(
        "a fresh worker gives its first answer within 130 ms",
        "cold_start",
        "first_answer_ms",
        at_most=130,
        variant="host is up",
    ),
    Goal("an idle worker holds at most 20 MB", "memory", "pss_mb", at_most=20),
)


@dataclass(frozen=True)
class Verdict:
    """What a run says of a goal."""

    goal: Goal
    value: float | None
    """None where the run did not measure it, which counts as not kept."""

    @property
    def is_kept(self) -> bool:
        """Whether the value is there and within the bounds."""
        if self.value is None:
            return False
        above = self.goal.at_least is None or self.value >= self.goal.at_least
        below = self.goal.at_most is None or self.value <= self.goal.at_most
        return above and below

    def __str__(self) -> str:
        unit = (
            f"x {self.goal.times}"
            if self.goal.times
            else metric(self.goal.case, self.goal.metric).unit
        )
        value = "not measured" if self.value is None else f"{self.value:.2f} {unit}"
        return f"{'kept  ' if self.is_kept else 'FAILED'}  {self.goal.name}: {value}"


def judge(results: Results) -> list[Verdict]:
    """A verdict for every goal."""
    verdicts = []
    for goal in GOALS:
        column = metric(goal.case, goal.metric)
        row = RowName("plughost", goal.variant)
        if goal.times:
            value = results.ratio(column, row, goal.times)
        else:
            spread = results.spread(column, row)
            value = None if spread is None else spread.median
        verdicts.append(Verdict(goal, value))
    return verdicts
