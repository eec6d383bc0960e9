"""Merge the answers of several reports into one answer per patient and question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

INFORMATIVE = frozenset({"present", "absent", "value"})
"""Values of the column ``status`` for reports that answer the question."""


def answers_by_patient(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return patient -> question -> the row of the ANSWERS table to use.

    This is the first report that answers the question. Answers with a quote found in the report are
    preferred over answers without. Unknown and failed answers are left out.
    """
    by_patient: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] not in INFORMATIVE:
            continue
        answers = by_patient.setdefault(row["patient_id"], {})
        earlier = answers.get(row["question_id"])
        if earlier is None or (row.get("grounded") and not earlier.get("grounded")):
            answers[row["question_id"]] = row
    return by_patient
