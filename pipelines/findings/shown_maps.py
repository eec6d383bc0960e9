"""Choose the maps to draw for a slide: maps that are nearly equal are drawn once, under all their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.findings.heatmap import ranks

SAME = 0.95
"""Rank correlation over the tiles from which two maps count as one."""


def distinct_maps(maps: NDArray[np.floating[Any]], names: Sequence[str]) -> tuple[NDArray[np.floating[Any]], list[str]]:
    """Return the maps that differ from each other and their names, in order.

    A map whose rank correlation with an earlier one is at least `SAME` is left out, and its name is added to that of
    the earlier map: several questions that look at the same tiles are not several findings.

    Parameters
    ----------
    maps
        (P, N) one map per name, N tiles.
    """
    kept: list[int] = []
    titles: list[str] = []
    ranked = [_standardized(ranks(each)) for each in maps]
    for place, name in enumerate(names):
        same = next((n for n, other in enumerate(kept) if float(ranked[place] @ ranked[other]) >= SAME), None)
        if same is None:
            kept.append(place)
            titles.append(name)
        else:
            titles[same] += f" = {name}"
    return maps[kept], titles


def _standardized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values`` with mean 0 and length 1; if all are equal, 1 in a channel of its own."""
    centered = values - values.mean()
    length = np.linalg.norm(centered)
    flat = np.append(np.zeros(len(values)), 1.0)
    return flat if length < 1e-9 else np.append(centered / length, 0.0)
