"""Bootstrap over patients: who is drawn, and the interval that the figures of the resamples give.

Whole patients are drawn with replacement, since slides or reports of one patient are not independent.

N items, P patients, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_USABLE = 0.9
"""Share of the resamples that must define a figure for it to get an interval."""


def draw_patients(
    patients: Sequence[str], resamples: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.integer[Any]]]:
    """Return how often each resample draws each patient, (R, P), and which of them each item is of, (N,).

    Parameters
    ----------
    patients
        (N,) patient of each item.
    """
    names, patient_of = np.unique(np.asarray(patients, str), return_inverse=True)
    shares = np.full(len(names), 1 / len(names))
    times: NDArray[np.int64] = np.random.default_rng(seed).multinomial(len(names), shares, size=resamples)
    return times, patient_of


def interval(drawn: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the 2.5th and 97.5th percentile of a figure over the resamples, (R,), NaN where it is not defined.

    None without resamples, or where fewer than `LEAST_USABLE` of them define the figure.
    """
    usable = drawn[np.isfinite(drawn)]
    if len(drawn) == 0 or len(usable) < LEAST_USABLE * len(drawn):
        return None
    low, high = np.percentile(usable, [2.5, 97.5])
    return float(low), float(high)
