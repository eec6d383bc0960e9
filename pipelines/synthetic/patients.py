"""Invented patients: a diagnosis, findings, and what the report states about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

LABELS: Mapping[str, str] = {"glandular": "glands", "keratinizing": "nests"}
"""The two made-up diagnoses, and the growth pattern that `draw_tissue` draws for each."""

FINDINGS: Mapping[str, Mapping[str, float]] = {
    "differentiation": {"well": 0.3, "moderate": 0.4, "poor": 0.3},
    "air_spaces": {"present": 0.4, "absent": 0.6},
    "vascular_invasion": {"present": 0.4, "absent": 0.6},
    "necrosis": {"present": 0.4, "absent": 0.6},
    "pleural_invasion": {"present": 0.4, "absent": 0.6},
    "adjacent_invasion": {"present": 0.25, "absent": 0.75},
    "margins": {"clear": 0.75, "involved": 0.25},
}
"""Finding -> value -> probability, the same for both diagnoses."""

SILENT: Mapping[str, float] = {
    "differentiation": 0.1,
    "air_spaces": 0.5,
    "vascular_invasion": 0.2,
    "necrosis": 0.2,
    "pleural_invasion": 0.15,
    "adjacent_invasion": 0.3,
    "margins": 0.1,
}
"""Finding -> probability that a report does not mention it."""

UNKNOWN = "unknown"
"""Value of a finding that the report does not mention."""

DIFFERENTIATED: Mapping[str, tuple[float, float]] = {"well": (0.85, 1.0), "moderate": (0.6, 0.8), "poor": (0.35, 0.5)}
"""Differentiation -> range of the share of the tumor with the growth pattern of its label; the rest is solid sheets."""

TWO_SLIDES = 0.2
"""Share of patients with a second slide."""


@dataclass(frozen=True)
class Patient:
    """One invented patient."""

    number: int
    patient_id: str
    report_id: str
    label: str
    """A name of `LABELS`."""
    findings: Mapping[str, str]
    """Finding -> true value. Each slide of the patient shows it, as far as tissue can, whether or not it is stated."""
    stated: Mapping[str, str]
    """Finding -> value that the report states, `UNKNOWN` if it does not mention the finding."""
    n_slides: int

    @property
    def slide_ids(self) -> list[str]:
        """The ids of the patient's slides."""
        return [f"{self.patient_id}-S{number}" for number in range(1, self.n_slides + 1)]


def draw_patients(n_patients: int, seed: int) -> list[Patient]:
    """Return ``n_patients`` patients, half with each label; ids and findings do not depend on the label."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation([list(LABELS)[number % len(LABELS)] for number in range(n_patients)])
    report_numbers = rng.permutation(n_patients) + 1
    patients = []
    for number, (label, report_number) in enumerate(zip(labels, report_numbers, strict=True)):
        drawn = {name: str(rng.choice(list(odds), p=list(odds.values()))) for name, odds in FINDINGS.items()}
        silent = {name for name, odds in SILENT.items() if rng.random() < odds}
        patients.append(
            Patient(
                number=number,
                patient_id=f"P{number + 1:03d}",
                report_id=f"R{report_number:03d}",
                label=str(label),
                findings=drawn,
                stated={name: UNKNOWN if name in silent else value for name, value in drawn.items()},
                n_slides=2 if rng.random() < TWO_SLIDES else 1,
            )
        )
    return patients
