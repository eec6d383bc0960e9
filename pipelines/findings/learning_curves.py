"""Plot the metrics of a training: one panel per metric with the curves of training and validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.findings.figures import write_figure


def draw_learning_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, best_epoch: int) -> None:
    """Plot rows of the `METRICS` table to the image file ``path``; a dotted line marks ``best_epoch``."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(row["name"] for row in rows))
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for split, color in (("train", "tab:blue"), ("val", "tab:orange")):
            points = [(row["epoch"], row["value"]) for row in rows if (row["split"], row["name"]) == (split, name)]
            if points:
                axes.plot(*zip(*points, strict=True), color=color, label=split, marker=".", markersize=3)
        axes.axvline(best_epoch, color="grey", linestyle=":", linewidth=1)
        axes.set(title=name.replace("_", " "), xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(frameon=False)
    write_figure(figure, path, dpi=120)
