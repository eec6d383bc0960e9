"""Turn the logits of slides into probabilities, and average them per patient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.labels import patient_labels


def class_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of (C,) logits, in float64.

    Scaled cosine similarities are large: in float32, a difference of 0.06 between two of them at a scale of 300
    would already give a probability of exactly 1.
    """
    exponentials = np.exp(logits - logits.max())
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum()
    return probabilities


def patient_rows(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row of PATIENT_PREDICTIONS per patient, with the mean probabilities of the patient's slides.

    The label is that of the labeled slides; if they differ, it is empty and ``label_conflict`` names them.
    """
    by_patient: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_patient[row["patient_id"]].append(row)
    labels = patient_labels((row["patient_id"], row["label"]) for row in rows)
    patients = []
    for patient, slides in by_patient.items():
        probabilities = {name: float(np.mean([slide[f"prob_{name}"] for slide in slides])) for name in classes}
        patients.append(
            {
                "patient_id": patient,
                "label": labels.label_of.get(patient),
                "label_conflict": labels.conflicts.get(patient),
                "split": slides[0]["split"],
                "learned_from": any(slide.get("learned_from") for slide in slides),
                "predicted": max(probabilities, key=probabilities.__getitem__),
                "n_slides": len(slides),
                **{f"prob_{name}": value for name, value in probabilities.items()},
            }
        )
    return patients
