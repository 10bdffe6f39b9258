"""Plain tables, one a case."""

from collections.abc import Sequence

from benchmarks.metrics import METRICS, Metric
from benchmarks.peers import PEERS
from benchmarks.results import Results, RowName

__all__ = ["tables"]

_TITLES = {
    "sequential": "one caller, add(1, 2), the next call after the answer",
    "in_flight": "64 calls of add(1, 2) in flight",
    "echo_1mb": "1 MB of random bytes there and back, one at a time; counted once",
    "cold_start": "from imported libraries to the worker's first answer",
    "memory": "an idle worker after 20 calls; helpers are what the host starts beside it",
    "host_cpu": "CPU time of the host process",
}
_UNSTEADY = 2.0  # times between rounds; a quiet machine stays within 1.3
_MISSING = "not installed: pip install 'plughost[bench]'"


def tables(results: Results, cases: Sequence[str], peers: Sequence[str]) -> str:
    """The tables of these cases; a peer without numbers has a row that says why."""
    return "\n\n".join(_table(results, case, peers) for case in cases)


def _table(results: Results, case: str, peers: Sequence[str]) -> str:
    columns = [metric for metric in METRICS if metric.case == case]
    header = ["peer"]
    for column in columns:
        header += [f"{column.title}, {column.unit}", "min to max"]
        header += [f"x {reference}" for reference in column.references]

    lines: list[list[str]] = []
    notes: list[str] = []
    measured = results.rows(case)
    for entry in PEERS:
        if entry.name not in peers:
            continue
        own = [row for row in measured if row.peer == entry.name]
        lines += [[row.label, *_cells(results, columns, row)] for row in own]
        errors = results.errors(case, entry.name)
        if not entry.is_installed():
            lines.append([entry.label, _MISSING])
        elif not own:
            lines.append([entry.label, f"error: {errors[0]}" if errors else "not measured"])
        elif errors:
            notes.append(f"{entry.label}: {len(errors)} rounds failed, the first: {errors[0]}")
    notes += _unsteady(results, columns)
    return "\n".join([f"{case}: {_TITLES[case]}", *_aligned([header, *lines]), *notes])


def _unsteady(results: Results, columns: Sequence[Metric]) -> list[str]:
    # Seen with raw: beside a busy process the kernel puts both its processes on one CPU, where
    # a round trip takes a sixth, and every ratio of that round is six times too high.
    notes = []
    for column in columns:
        for reference in column.references:
            spread = results.spread(column, RowName(reference))
            if spread is not None and spread.high > _UNSTEADY * spread.low:
                notes.append(
                    f"The rounds of {reference} differ {spread.high / spread.low:.1f} times in "
                    f"{column.title}: the machine was not quiet, ratios to it mean little."
                )
    return notes


def _cells(results: Results, columns: Sequence[Metric], row: RowName) -> list[str]:
    cells: list[str] = []
    for column in columns:
        spread = results.spread(column, row)
        if spread is None:
            cells += ["-"] * (2 + len(column.references))
            continue
        low, high = (f"{value:,.{column.decimals}f}" for value in (spread.low, spread.high))
        cells += [f"{spread.median:,.{column.decimals}f}", f"{low} to {high}"]
        for reference in column.references:
            ratio = results.ratio(column, row, reference)
            cells.append("-" if ratio is None else f"{ratio:.2f}")
    return cells


def _aligned(lines: list[list[str]]) -> list[str]:
    # A row of two cells is a sentence: it sets no width.
    full = [line for line in lines if len(line) == len(lines[0])]
    widths = [max(map(len, cells)) for cells in zip(*full, strict=True)]
    widths[0] = max(len(line[0]) for line in lines)
    text = []
    for line in lines:
        first = line[0].ljust(widths[0])
        if len(line) == len(lines[0]):
            rest = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        else:
            rest = line[1:]
        text.append("  ".join([first, *rest]))
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return [text[0], rule, *text[1:]]
