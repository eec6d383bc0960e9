"""Bootstrap over patients: resampling weights and percentile intervals.

Whole patients are drawn with replacement, because slides or reports of one patient are not independent.

N items, P patients, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_DEFINED_SHARE = 0.9
"""Minimum share of resamples in which a metric must be defined to get an interval."""


def patient_weights(
    patients: Sequence[str], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.integer[Any]]]:
    """Return the weight of each patient, (1 + R, P), and the patient index of each item, (N,).

    Row 0 is the original data: every weight is 1. In the other rows, a weight is the number of
    times the resample draws the patient.

    Parameters
    ----------
    patients
        (N,) patient of each item.
    """
    names, patient_of = np.unique(np.asarray(patients, str), return_inverse=True)
    n = len(names)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    return np.vstack([np.ones((1, n)), draws]), patient_of


def interval(resampled: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the 2.5th and 97.5th percentiles of a metric over the resamples.

    Return None if there are no resamples, or if the metric is defined in fewer than
    `MIN_DEFINED_SHARE` of them.

    Parameters
    ----------
    resampled
        (R,) values, NaN where the metric is undefined.
    """
    defined = resampled[np.isfinite(resampled)]
    if len(resampled) == 0 or len(defined) < MIN_DEFINED_SHARE * len(resampled):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
