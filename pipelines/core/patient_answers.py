"""One answer per patient and question, where a patient has several reports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

KNOWN = frozenset({"present", "absent", "value"})
"""States of an answer that says something."""


def answers_by_patient(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Return patient -> question -> the row of the ANSWERS table that counts.

    The first report in the table that answers the question counts; one whose quote was found
    goes before one whose quote was not. Only answers that say something are returned.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if row["status"] not in KNOWN:
            continue
        answers = found.setdefault(row["patient_id"], {})
        earlier = answers.get(row["question_id"])
        if earlier is None or (row.get("grounded") and not earlier.get("grounded")):
            answers[row["question_id"]] = row
    return found
