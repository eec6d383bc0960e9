"""Choose the maps to draw for a slide: maps that are nearly equal are drawn once, under all their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.attention_file import OTHER, AttentionMaps
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


def maps_to_show(
    maps: AttentionMaps, predicted: int | None, n_questions: int
) -> tuple[NDArray[np.floating[Any]], list[str]]:
    """Return the maps to draw for a slide, (P, N), and their titles.

    First comes what speaks for the predicted class; of a trained model whose contributions are not known, the mean
    attention. Then follow the attention of each question, or of each other prompt. Without a trained model, these are
    what speaks for the preferred answer to each question, and the similarities to the classes.

    Parameters
    ----------
    predicted
        Index of the predicted class; None without classes.
    n_questions
        How many of the first prompts are questions; 0 if all prompts are shown.
    """
    if maps.texts:
        return _similarity_maps(maps, predicted)
    n_shown = n_questions or len(maps.prompts)
    shown, names = distinct_maps(maps.weights[:n_shown], maps.prompts[:n_shown])
    if maps.classes and predicted is not None:
        speaking = maps.contributions[predicted] - maps.contributions.mean(axis=0)
        return np.vstack([speaking[None], shown]), [f"speaks for {maps.classes[predicted]}", *names]
    if n_shown > 1:
        return np.vstack([maps.weights[:n_shown].mean(axis=0)[None], shown]), ["mean of these", *names]
    return shown, names


def _similarity_maps(maps: AttentionMaps, predicted: int | None) -> tuple[NDArray[np.floating[Any]], list[str]]:
    """Return maps of how much more a tile resembles one text than the alternatives, and of the similarities."""
    n_classes, other = len(maps.classes), [row for row, name in enumerate(maps.texts) if name == OTHER][-1:]
    other = [row for row in other if row >= n_classes]
    slide = np.einsum("tn,tn->t", maps.weights, maps.similarities[: len(maps.prompts)])
    leading, leading_names = [], []
    if predicted is not None:
        leading.append(_more_than(maps.similarities, predicted, [*range(n_classes), *other]))
        leading_names.append(f"speaks for {maps.classes[predicted]}")
    shown, names = [], []
    for question, rows in _questions(maps.prompts, n_classes).items():
        best = max(rows, key=slide.__getitem__)
        shown.append(_more_than(maps.similarities, best, [*rows, *other]))
        names.append(f"{question}: {maps.prompts[best].partition('=')[2]}")
    shown += list(maps.similarities[:n_classes])
    names += [f"similar to {name}" for name in maps.classes]
    distinct, titles = distinct_maps(np.stack(shown), names)
    return np.vstack([*leading, distinct]), [*leading_names, *titles]


def _questions(prompts: Sequence[str], n_classes: int) -> dict[str, list[int]]:
    """Return question -> rows of its answers; the names after those of the classes are ``question=answer``."""
    rows: dict[str, list[int]] = {}
    for row in range(n_classes, len(prompts)):
        rows.setdefault(prompts[row].partition("=")[0], []).append(row)
    return rows


def _more_than(similarities: NDArray[np.floating[Any]], row: int, all_rows: Sequence[int]) -> NDArray[Any]:
    """Return how much more similar each tile is to the text of ``row`` than to the best of the others, (N,)."""
    rest = [other for other in all_rows if other != row]
    more: NDArray[Any] = similarities[row] - similarities[rest].max(axis=0)
    return more


def _standardized(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``values`` with mean 0 and length 1; if all are equal, 1 in a channel of its own."""
    centered = values - values.mean()
    length = np.linalg.norm(centered)
    flat = np.append(np.zeros(len(values)), 1.0)
    return flat if length < 1e-9 else np.append(centered / length, 0.0)
