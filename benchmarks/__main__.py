"""The command line: `python -m benchmarks`, from the root of the repository."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import goals, machine, report, runner
from benchmarks.metrics import CASES, METRICS
from benchmarks.peers import PEERS
from benchmarks.results import Results
from benchmarks.spawn import ROOT

_LATEST = ROOT / "benchmarks" / "results" / "latest.json"
_BUSY = 0.3  # load for each CPU from which the numbers are somebody else's too


def main() -> int:
    """Measure, print, write. The exit status is 1 when `--goals` finds one that is not kept."""
    options = _parse()
    installed = {entry.name for entry in PEERS if entry.is_installed()}
    plan = runner.Plan(
        peers=[name for name in options.only if name in installed],
        cases=options.cases,
        rounds=options.rounds or (2 if options.quick else 5),
        seconds=0.3 if options.quick else 1.5,
        timeout=options.timeout,
    )
    where = machine.describe(plan.peers)
    if where["load"][0] > _BUSY * where["cpus"]:
        print(f"warning: this machine is busy (load {where['load'][0]})", file=sys.stderr)

    results = Results(_run(plan))
    print(machine.sentence(where))
    print(f"{plan.rounds} rounds; ratios are medians of the ratios within each round\n")
    print(report.tables(results, options.cases, options.only))

    verdicts = goals.judge(results)
    document = {"machine": where, "plan": vars(plan)} | results.as_json()
    document["goals"] = [
        {"name": verdict.goal.name, "value": verdict.value, "kept": verdict.is_kept}
        for verdict in verdicts
    ]
    _write(document)
    if options.plot:
        # Here, since only this needs matplotlib.
        from benchmarks.plot import draw

        shown = [metric for metric in METRICS if metric.case in options.cases]
        draw(results, shown, options.plot, machine.sentence(where))
        print(f"\nfigure: {options.plot}")
    if not options.goals:
        return 0
    print("\ngoals", *verdicts, sep="\n")
    return 0 if all(verdict.is_kept for verdict in verdicts) else 1


def _run(plan: runner.Plan) -> list[runner.Sample]:
    runner.adopt_orphans()
    samples = []
    todo = list(runner.steps(plan))
    for number, step in enumerate(todo, 1):
        sample = runner.measure(step, plan)
        samples.append(sample)
        print(
            f"{number}/{len(todo)}  round {step.round + 1}  {step.case}  {step.peer}  "
            f"{sample.elapsed:.1f} s  {sample.error}",
            file=sys.stderr,
        )
    return samples


def _write(document: dict[str, Any]) -> None:
    _LATEST.parent.mkdir(exist_ok=True)
    _LATEST.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(f"\nall samples: {_LATEST.relative_to(ROOT)}")


def _parse() -> argparse.Namespace:
    peers = [entry.name for entry in PEERS]
    parser = argparse.ArgumentParser("python -m benchmarks", description=benchmarks.__doc__)
    parser.add_argument("--rounds", type=_positive, help="default: 5, with --quick 2")
    parser.add_argument("--quick", action="store_true", help="shorter, to see that all works")
    parser.add_argument(
        "--only", type=_names(peers), default=peers, metavar="PEER,...", help=", ".join(peers)
    )
    parser.add_argument(
        "--cases", type=_names(CASES), default=CASES, metavar="CASE,...", help=", ".join(CASES)
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, help="seconds for one measurement (default: 60)"
    )
    parser.add_argument("--goals", action="store_true", help="exit with 1 when a goal is not kept")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a figure, PNG or SVG")
    options = parser.parse_args()
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install 'plughost[bench]'")
    return options


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        asked = text.split(",")
        for name in asked:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return [name for name in known if name in asked]

    return parse


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
