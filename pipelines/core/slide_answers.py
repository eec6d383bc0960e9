"""The answers of a slide to questions, from the columns ``similarity_<question>=<answer>`` of its prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.core.schemas import SIMILARITY


def answer_rows(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row of SLIDE_ANSWERS per question and answer in a row of PREDICTIONS."""
    similarities: dict[str, dict[str, float]] = {}
    for name, value in row.items():
        if name.startswith(SIMILARITY):
            question, _, answer = name.removeprefix(SIMILARITY).partition("=")
            similarities.setdefault(question, {})[answer] = value
    rows = []
    for question, of_answers in similarities.items():
        best = max(of_answers, key=of_answers.__getitem__)
        for answer, value in of_answers.items():
            others = [other for name, other in of_answers.items() if name != answer]
            rows.append(
                {
                    "slide_id": row["slide_id"],
                    "patient_id": row["patient_id"],
                    "question_id": question,
                    "answer": answer,
                    "similarity": value,
                    "margin": value - max(others),
                    "preferred": answer == best,
                }
            )
    return rows


def preferred_answers(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of `answer_rows` with the preferred answer to each question."""
    return [answer for answer in answer_rows(row) if answer["preferred"]]
