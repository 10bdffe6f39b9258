"""The figure: a panel a metric, a bar a row, whiskers from the worst round to the best."""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.metrics import Metric
from benchmarks.results import Results

__all__ = ["draw"]

_COLUMNS: Final = 2
_OWN, _LIMIT, _PEER = "#c8501e", "#8a8a8a", "#4c7fb0"
_COLOURS: Final = {"plughost": _OWN, "raw": _LIMIT}
_LOG_FROM: Final = 12.0  # times between the longest and the shortest bar


def draw(results: Results, metrics: list[Metric], path: Path, subtitle: str) -> None:
    """Write the figure; the file's ending decides the format."""
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold"})
    shown = [metric for metric in metrics if results.rows(metric.case)]
    lines = -(-len(shown) // _COLUMNS)
    figure = Figure(figsize=(13, 0.9 + 3.1 * lines), layout="constrained")
    figure.suptitle(f"One worker, one host: medians and ranges over rounds\n{subtitle}", fontsize=9)
    panels = list(figure.subplots(lines, _COLUMNS, squeeze=False).flat)
    for panel in panels:
        panel.set_visible(False)
    for panel, metric in zip(panels, shown, strict=False):
        panel.set_visible(True)
        _panel(panel, results, metric)
    figure.savefig(path, dpi=130)


def _panel(panel: Any, results: Results, metric: Metric) -> None:
    bars = [
        (row, spread)
        for row in results.rows(metric.case)
        if (spread := results.spread(metric, row)) is not None and spread.median > 0
    ]
    better = "more" if metric.more_is_better else "less"
    panel.set_title(
        f"{metric.case}: {metric.title}, {metric.unit} ({better} is better)", loc="left"
    )
    if not bars:
        panel.text(0.5, 0.5, "nothing measured", ha="center", transform=panel.transAxes)
        return

    labels = [row.label for row, _ in bars]
    medians = [spread.median for _, spread in bars]
    whiskers = [
        [spread.median - spread.low for _, spread in bars],
        [spread.high - spread.median for _, spread in bars],
    ]
    panel.barh(
        labels,
        medians,
        xerr=whiskers,
        color=[_COLOURS.get(row.peer, _PEER) for row, _ in bars],
        error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#333333"},
    )
    panel.invert_yaxis()
    panel.spines[["top", "right"]].set_visible(False)
    highest = max(spread.high for _, spread in bars)
    lowest = min(spread.low for _, spread in bars)
    if lowest > 0 and highest / lowest > _LOG_FROM:
        panel.set_xscale("log")
        panel.set_xlim(lowest / 2, highest * 4)
    else:
        panel.set_xlim(0, highest * 1.25)
    # After the scale, which brings a formatter of its own: powers of ten.
    panel.xaxis.set_major_formatter(lambda value, _position: f"{value:,.12g}")
    for index, (_, spread) in enumerate(bars):
        panel.annotate(
            f"{spread.median:,.{metric.decimals}f}",
            (spread.high, index),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
        )
