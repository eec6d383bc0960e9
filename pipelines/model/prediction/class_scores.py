"""From the logits of a slide to probabilities, and from slides to patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def class_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of (C,) logits, which sums to 1.

    Only differences of logits enter, in float64: scaled cosines are large, and in float32
    a gap of 0.06 between cosines at a scale of 300 would already give exactly 1.
    """
    shares = np.exp(logits - logits.max())
    probabilities: NDArray[np.float64] = shares / shares.sum()
    return probabilities


def patient_rows(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row of PATIENT_PREDICTIONS a patient: the mean of the probabilities of the slides."""
    by_patient: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_patient[row["patient_id"]].append(row)
    found = []
    for patient, slides in by_patient.items():
        probabilities = {name: float(np.mean([slide[f"prob_{name}"] for slide in slides])) for name in classes}
        labels = {slide["label"] for slide in slides}
        found.append(
            {
                "patient_id": patient,
                "label": labels.pop() if len(labels) == 1 else None,
                "split": slides[0]["split"],
                "predicted": max(probabilities, key=probabilities.__getitem__),
                "n_slides": len(slides),
                **{f"prob_{name}": value for name, value in probabilities.items()},
            }
        )
    return found
