"""The table of the answers to questions, made from the predictions of the slides beside it."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.files import fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PREDICTIONS, SLIDE_ANSWERS
from pipelines.core.slide_answers import answer_rows
from pipelines.model.prediction.patients_table import MADE_FROM, PREDICTED

ANSWERS = "slide_answers.parquet"


def write_slide_answers(folder: Path, provenance: Provenance) -> None:
    """Write ``slide_answers.parquet`` from the predictions in ``folder``, if they have answers to questions."""
    rows = PREDICTIONS.read_rows(folder / PREDICTED)
    answers = [answer for row in rows for answer in answer_rows(row)]
    if answers:
        SLIDE_ANSWERS.write(folder / ANSWERS, answers, provenance, notes={MADE_FROM: fingerprint(rows)})
