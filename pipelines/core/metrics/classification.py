"""Figures of a classifier with bootstrap intervals over patients, and the confusion table.

The definitions are scikit-learn's (a test compares them). They are computed here for all
resamples at once, as weights of the slides: a thousand calls into scikit-learn take seconds
for what is a few matrix products.

N predictions, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.bootstrap import draw_patients, interval

FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
"""Names of what `measure` returns, in its order."""


@dataclass(frozen=True)
class Figure:
    """One figure, its 95 % interval, and why either is missing."""

    name: str
    value: float | None
    low: float | None = None
    """2.5th percentile over the resamples."""
    high: float | None = None
    """97.5th percentile over the resamples."""
    note: str = ""
    """Why the value or its interval is missing, or what it leaves out."""


def measure(
    labels: NDArray[np.integer[Any]],
    predicted: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    patients: Sequence[str],
    *,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> list[Figure]:
    """Return accuracy, balanced accuracy, macro F1 and AUC with 95 % intervals.

    A resample draws whole patients with replacement, since slides of one patient are not
    independent. The interval holds its 2.5th to 97.5th percentile. The AUC of two classes
    is the usual one; of more, the mean over classes of each against the rest. A figure that
    is not defined has the value None and a note that says why.

    Parameters
    ----------
    labels, predicted
        (N,) indices into ``classes``.
    scores
        (N, C); larger means more likely, comparable within a column: `one_vs_rest_scores`.
    patients
        (N,) patient of each prediction.
    resamples
        0 for no intervals.
    """
    present = np.bincount(labels, minlength=len(classes)) > 0
    if not present.any():
        return [Figure(name, None, note="nothing to count") for name in FIGURES]
    times, patient_of = draw_patients(patients, resamples, seed)
    weights = times[:, patient_of].astype(np.float64)  # (R, N): how often each prediction is in each resample
    values = np.vstack(
        [_figures(labels, predicted, scores, w) for w in (np.ones((1, len(labels))), weights)]
    )  # (1 + R, 4)
    return [
        _figure(name, values[:, k], classes, present, n_patients=len(set(patients))) for k, name in enumerate(FIGURES)
    ]


def one_vs_rest_scores(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (N, C) log-odds of each class against all others, from (N, C) logits.

    They rank slides as the probabilities do, without the ties of probabilities that round
    to 1; with two classes they are the difference of the logits.
    """
    logits = np.asarray(logits, np.float64)
    others = np.stack([np.delete(logits, k, axis=1) for k in range(logits.shape[1])], axis=1)  # (N, C, C - 1)
    scores: NDArray[np.float64] = logits - np.logaddexp.reduce(others, axis=2)
    return scores


def confusion(
    labels: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], n_classes: int
) -> NDArray[np.int64]:
    """Return (C, C) counts: rows are labels, columns are predictions."""
    counts: NDArray[np.int64] = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def _figure(
    name: str, values: NDArray[np.float64], classes: Sequence[str], present: NDArray[np.bool_], *, n_patients: int
) -> Figure:
    if name != "accuracy" and present.sum() < 2:
        return Figure(name, None, note=f"every label is {classes[int(present.argmax())]!r}")
    value, drawn = float(values[0]), values[1:]
    absent = [c for c, there in zip(classes, present, strict=True) if not there]
    note = f"no label is {', '.join(absent)}" if absent and name != "accuracy" else ""
    if len(drawn) == 0:
        return Figure(name, value, note=note)
    found = interval(drawn)
    if found is None:
        return Figure(name, value, note=f"no interval: {n_patients} patients are too few")
    if np.nanmin(drawn) == np.nanmax(drawn):
        return Figure(name, value, note="no interval: all resamples agree")
    return Figure(name, value, *found, note)


def _figures(
    labels: NDArray[np.integer[Any]],
    predicted: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return (R, 4) figures under (R, N) weights; NaN where one is not defined."""
    n_classes = scores.shape[1]
    cells = np.eye(n_classes**2)[labels * n_classes + predicted]  # (N, C * C)
    table = (weights @ cells).reshape(-1, n_classes, n_classes)
    hits = np.einsum("rcc->rc", table)
    labelled, called = table.sum(axis=2), table.sum(axis=1)
    accuracy = hits.sum(axis=1) / weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        recall = hits / labelled
        f1 = 2 * hits / (labelled + called)
        aucs = np.stack([_auc(labels == k, scores[:, k], weights) for k in range(n_classes)], axis=1)
    figures = np.stack([accuracy, _mean(recall), _mean(f1), _mean(aucs)], axis=1)
    figures[(labelled > 0).sum(axis=1) < 2, 1:] = np.nan
    return figures


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the classes for which a figure is defined; NaN without any."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(defined, values, 0).sum(axis=1) / defined.sum(axis=1)
    return mean


def _auc(
    positive: NDArray[np.bool_], scores: NDArray[np.floating[Any]], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (R,): the share of pairs (positive, negative) in the right order, ties half."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))  # one group per distinct score
    ranked, is_positive = weights[:, order], positive[order]
    won = np.add.reduceat(ranked * is_positive, starts, axis=1)
    lost = np.add.reduceat(ranked * ~is_positive, starts, axis=1)
    below = np.cumsum(lost, axis=1) - lost
    auc: NDArray[np.float64] = (won * (below + lost / 2)).sum(axis=1) / (won.sum(axis=1) * lost.sum(axis=1))
    return auc
