"""Metrics of a classifier with bootstrap confidence intervals over patients.

N predictions, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.bootstrap import interval, patient_weights
from pipelines.core.metrics.confusion import (
    accuracy,
    f1_by_class,
    mean_over,
    recall_by_class,
    weighted_confusion_tables,
)
from pipelines.core.metrics.metric import Metric

METRIC_NAMES = ("accuracy", "balanced_accuracy", "macro_f1", "auc")
"""Names of the metrics that `measure` returns, in this order."""


def measure(
    labels: NDArray[np.integer[Any]],
    predicted: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    patients: Sequence[str],
    *,
    classes: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> list[Metric]:
    """Return accuracy, balanced accuracy, macro F1 and AUC with 95 % intervals.

    Each resample draws whole patients with replacement, because slides of one patient are not
    independent. The interval spans the 2.5th to the 97.5th percentile. Macro F1 is the mean over
    the classes that occur in labels or predictions. The AUC of more than two classes is the mean
    of the one-vs-rest AUCs. An undefined metric has the value None and a note with the reason.

    Parameters
    ----------
    labels, predicted
        (N,) indices into ``classes``.
    scores
        (N, C) as `one_vs_rest_scores` returns them: larger is more likely, comparable within a column.
    patients
        (N,) patient of each prediction.
    resamples
        0 skips the intervals.
    """
    has_labels = np.bincount(labels, minlength=len(classes)) > 0  # (C,)
    if not has_labels.any():
        return [Metric(name, None, note="nothing to count") for name in METRIC_NAMES]
    weights, patient_of = patient_weights(patients, resamples, seed)
    values = _values(labels, predicted, scores, weights, patient_of)  # (1 + R, 4)
    return [
        _metric(name, values[:, k], classes, has_labels, n_patients=len(set(patients)))
        for k, name in enumerate(METRIC_NAMES)
    ]


def one_vs_rest_scores(logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the log-odds (N, C) of each class against all others, from logits (N, C).

    They rank slides as the probabilities do, but have no ties where probabilities round to 1.
    With two classes they are the differences of the logits.
    """
    logits = np.asarray(logits, np.float64)
    others = np.stack([np.delete(logits, k, axis=1) for k in range(logits.shape[1])], axis=1)  # (N, C, C - 1)
    scores: NDArray[np.float64] = logits - np.logaddexp.reduce(others, axis=2)
    return scores


def _metric(
    name: str, values: NDArray[np.float64], classes: Sequence[str], has_labels: NDArray[np.bool_], *, n_patients: int
) -> Metric:
    """Return the metric from its values (1 + R,), the first of them for the original data."""
    if name != "accuracy" and has_labels.sum() < 2:
        return Metric(name, None, note=f"every label is {classes[int(has_labels.argmax())]!r}")
    value, resampled = float(values[0]), values[1:]
    absent = [c for c, present in zip(classes, has_labels, strict=True) if not present]
    note = f"no label is {', '.join(absent)}" if absent and name != "accuracy" else ""
    if len(resampled) == 0:
        return Metric(name, value, note=note)
    bounds = interval(resampled)
    if bounds is None:
        return Metric(name, value, note=f"no interval: {n_patients} patients are too few")
    if np.nanmin(resampled) == np.nanmax(resampled):
        return Metric(name, value, note="no interval: all resamples agree")
    return Metric(name, value, *bounds, note)


def _values(
    labels: NDArray[np.integer[Any]],
    predicted: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    weights: NDArray[np.float64],
    patient_of: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """Return the metrics (1 + R, 4) under patient weights (1 + R, P); NaN where a metric is undefined."""
    n_classes = scores.shape[1]
    tables = weighted_confusion_tables(labels, predicted, n_classes, weights, patient_of)
    weight_of_item = weights[:, patient_of]  # (1 + R, N)
    with np.errstate(invalid="ignore"):
        aucs = np.stack([_auc(labels == k, scores[:, k], weight_of_item) for k in range(n_classes)], axis=1)
    by_class = (recall_by_class(tables), f1_by_class(tables), aucs)
    values = np.stack([accuracy(tables), *(mean_over(v, np.isfinite(v)) for v in by_class)], axis=1)
    values[(tables.sum(axis=2) > 0).sum(axis=1) < 2, 1:] = np.nan
    return values


def _auc(
    positive: NDArray[np.bool_], scores: NDArray[np.floating[Any]], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the share of (positive, negative) pairs in the right order, per row of weights; ties count half.

    ``positive`` and ``scores`` are (N,), ``weights`` (1 + R, N).
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))  # one group per distinct score
    ranked, is_positive = weights[:, order], positive[order]
    positives = np.add.reduceat(ranked * is_positive, starts, axis=1)
    negatives = np.add.reduceat(ranked * ~is_positive, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs_in_order = (positives * (below + negatives / 2)).sum(axis=1)
    auc: NDArray[np.float64] = pairs_in_order / (positives.sum(axis=1) * negatives.sum(axis=1))
    return auc
