"""How far answers agree with reference answers: accuracy, macro F1, kappa, with bootstrap intervals.

The definitions are scikit-learn's (a test compares them). They are computed here for all
resamples at once: thousands of calls into scikit-learn take minutes for what is one matrix
product.

N answers, C categories, R resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.bootstrap import draw_patients, interval


@dataclass(frozen=True)
class Figure:
    """A figure and its 95 % interval, None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Agreement:
    """How the answers to one question compare with the reference."""

    question: str
    n: int
    """Answers compared."""
    n_patients: int
    accuracy: Figure
    macro_f1: Figure
    """Mean F1 over the categories that the reference holds."""
    kappa: Figure
    """Cohen's kappa."""
    majority: float
    """Accuracy of always giving the commonest reference answer."""
    unknown_in_reference: float
    """Share of unknown reference answers: the accuracy of always saying unknown."""
    unknown_given: float
    """Share of unknown answers."""
    categories: tuple[str, ...]
    confusion: list[list[int]]
    """Rows are reference answers, columns the answers given, in the order of the categories."""


def compare(
    question: str,
    reference: Sequence[str],
    given: Sequence[str],
    patients: Sequence[str],
    *,
    order: Sequence[str] = (),
    unknown: str = "unknown",
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Compare N answers with their reference; a resample draws whole patients with replacement.

    Parameters
    ----------
    order
        Order of the categories in the confusion table; others follow.
    """
    found = {*reference, *given}
    categories = tuple(dict.fromkeys([*(c for c in order if c in found), *sorted(found)]))
    place = {category: index for index, category in enumerate(categories)}
    cells = np.array([place[r] * len(place) + place[g] for r, g in zip(reference, given, strict=True)])
    tables = _tables(cells, len(categories), patients, resamples, seed)
    values = _figures(tables)  # (3, 1 + R)
    accuracy, macro_f1, kappa = (_figure(row) for row in values)
    counts = Counter(reference)
    return Agreement(
        question,
        n=len(reference),
        n_patients=len(set(patients)),
        accuracy=accuracy,
        macro_f1=macro_f1,
        kappa=kappa,
        majority=counts.most_common(1)[0][1] / len(reference),
        unknown_in_reference=counts[unknown] / len(reference),
        unknown_given=sum(answer == unknown for answer in given) / len(given),
        categories=categories,
        confusion=tables[0].astype(int).tolist(),
    )


def _tables(
    cells: NDArray[np.integer], n_categories: int, patients: Sequence[str], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return (1 + R, C, C) confusion tables: of the data, then of each resample."""
    times, patient_of = draw_patients(patients, resamples, seed)
    per_patient = np.zeros((times.shape[1], n_categories**2))
    np.add.at(per_patient, (patient_of, cells), 1)
    weights = np.vstack([np.ones((1, times.shape[1])), times])
    return (weights @ per_patient).reshape(-1, n_categories, n_categories)


def _figures(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 1 + R) accuracy, macro F1 and kappa; NaN where one is not defined."""
    total = tables.sum(axis=(1, 2))
    hits = np.einsum("rcc->rc", tables)
    referred, called = tables.sum(axis=2), tables.sum(axis=1)  # (1 + R, C)
    accuracy = hits.sum(axis=1) / total
    chance = (referred * called).sum(axis=1) / total**2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappa = np.where(chance < 1, (accuracy - chance) / (1 - chance), np.nan)
        f1 = np.where(referred > 0, 2 * hits / (referred + called), 0)
    macro_f1 = f1.sum(axis=1) / (referred > 0).sum(axis=1)
    return np.stack([accuracy, macro_f1, kappa])


def _figure(values: NDArray[np.float64]) -> Figure:
    if not np.isfinite(values[0]):
        return Figure(None)
    return Figure(float(values[0]), *(interval(values[1:]) or ()))
