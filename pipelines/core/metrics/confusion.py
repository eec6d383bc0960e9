"""Confusion tables, and the metrics that follow from them, for all resamples at once.

The definitions are scikit-learn's (tests compare them). Calling scikit-learn for every resample
would take seconds to minutes; weighted tables need only a few matrix products.

N items, P patients, C classes, R resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def confusion_table(
    reference: NDArray[np.integer[Any]], given: NDArray[np.integer[Any]], n_classes: int
) -> NDArray[np.int64]:
    """Return the (C, C) counts of (N,) class indices; rows are reference classes, columns the given ones."""
    counts: NDArray[np.int64] = np.bincount(reference * n_classes + given, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def weighted_confusion_tables(
    reference: NDArray[np.integer[Any]],
    given: NDArray[np.integer[Any]],
    n_classes: int,
    weights: NDArray[np.float64],
    patient_of: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """Return one confusion table for each row of patient weights, (1 + R, C, C).

    Parameters
    ----------
    reference, given
        (N,) class indices.
    weights
        (1 + R, P) as `patient_weights` returns them.
    patient_of
        (N,) patient index of each item.
    """
    by_patient = np.zeros((weights.shape[1], n_classes**2))
    np.add.at(by_patient, (patient_of, reference * n_classes + given), 1)
    return (weights @ by_patient).reshape(-1, n_classes, n_classes)


def accuracy(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the accuracy (R,) of each table (R, C, C)."""
    share: NDArray[np.float64] = diagonal(tables).sum(axis=1) / tables.sum(axis=(1, 2))
    return share


def recall_by_class(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the recall (R, C) of each class; NaN for a class without reference."""
    with np.errstate(invalid="ignore"):
        recall: NDArray[np.float64] = diagonal(tables) / tables.sum(axis=2)
    return recall


def f1_by_class(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the F1 (R, C) of each class; NaN for a class that neither reference nor given items contain."""
    with np.errstate(invalid="ignore"):
        f1: NDArray[np.float64] = 2 * diagonal(tables) / (tables.sum(axis=2) + tables.sum(axis=1))
    return f1


def mean_over(values: NDArray[np.float64], included: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean (R,) of the values (R, C) that are included; NaN if there are none."""
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(included, values, 0).sum(axis=1) / included.sum(axis=1)
    return mean


def diagonal(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the diagonals (R, C) of the tables (R, C, C): the correct items of each class."""
    correct: NDArray[np.float64] = np.einsum("rcc->rc", tables)
    return correct
