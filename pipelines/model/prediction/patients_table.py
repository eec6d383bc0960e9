"""The table of patients, which must fit the predictions of the slides beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import ArtifactError
from pipelines.core.files import fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS
from pipelines.model.prediction.class_scores import patient_rows

PREDICTED, PATIENTS = "predictions.parquet", "patients.parquet"
MADE_FROM = "five.predictions"
"""Metadata of the table of patients: fingerprint of the predictions that it was made from."""


def write_patients(folder: Path, classes: Sequence[str], provenance: Provenance) -> None:
    """Write ``patients.parquet`` from the predictions in ``folder``."""
    rows = PREDICTIONS.read_rows(folder / PREDICTED)
    patients = patient_rows(rows, classes)
    PATIENT_PREDICTIONS.write(folder / PATIENTS, patients, provenance, notes={MADE_FROM: fingerprint(rows)})


def refuse_stale_patients(path: Path) -> None:
    """Check that the table of patients at ``path`` was made from the predictions beside it, if there are any.

    Raises
    ------
    ArtifactError
        It was made from other predictions, or it is missing because some slides are not predicted.
    """
    predictions = path.parent / PREDICTED
    if not predictions.exists():
        return
    if not path.exists():
        raise ArtifactError(
            f"{path}: no such file, because not every slide of the cohort is predicted",
            hint="run `five predict` again; it lists the slides that fail",
        )
    PATIENT_PREDICTIONS.read(path)  # another version has its own error
    if PATIENT_PREDICTIONS.notes(path).get(MADE_FROM) != fingerprint(PREDICTIONS.read_rows(predictions)):
        raise ArtifactError(
            f"{path}: was made from other predictions than those in {PREDICTED}", hint="run `five predict` again"
        )
