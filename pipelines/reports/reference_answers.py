"""Answers to compare: those of a descriptions folder, and reference answers from a table or a second folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.descriptions_folder import read_descriptions
from pipelines.core.errors import CohortError
from pipelines.core.patient_answers import answers_by_patient
from pipelines.core.questions import UNKNOWN, Question
from pipelines.core.user_tables import canonical_columns, cell_text, warn_of_unused
from pipelines.reports.report_table import COLUMNS
from pipelines.reports.table_rows import read_table

STATED = "stated"
"""Category of any answer to a phrase question: only whether the report says something is compared."""
FAILED = "failed"
"""Category of a report that could not be described; it counts as a disagreement."""
KEYS: dict[str, tuple[str, ...]] = {name: COLUMNS[name] for name in ("report_id", "patient_id")}
"""Columns that may identify what was judged, in order of preference."""

Words = Mapping[str, str]
"""Question id -> category of the answer."""


@dataclass(frozen=True)
class Reference:
    """Reference answers."""

    source: Path
    key: str
    """Whether they are about a ``report_id`` or a ``patient_id``."""
    words: Mapping[str, Words]
    """Id -> the answers that were judged."""


@dataclass(frozen=True)
class Given:
    """The answers for one report or patient."""

    patient: str
    words: Words


def read_gold(gold: Path, questions: Sequence[Question], prefix: str) -> Reference:
    """Return the answers in a table with a column of ids, and a column ``prefix`` + id per question.

    Other columns are named in a warning of the log.

    Raises
    ------
    CohortError
        The table has no id column, an id appears twice, or an answer is not one of the question.
    """
    rows = read_table(gold)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    accepted = KEYS | {f"{prefix}{question.id}": (f"{prefix}{question.id}",) for question in questions}
    names = canonical_columns(columns, accepted, gold)
    key = next((name for name in KEYS if name in names), None)
    if key is None:
        raise CohortError(f"{gold}: no column report_id or patient_id", hint="add a column with the ids of the reports")
    warn_of_unused(columns, names, accepted, gold)
    ids = [cell_text(row.get(names[key])) or "" for row in rows]
    repeated = [name for name, times in Counter(ids).items() if times > 1]
    if repeated:
        raise CohortError(f"{gold}: {key} {repeated[0]!r} appears twice", hint="give one row per id")
    words: dict[str, dict[str, str]] = {name: {} for name in ids}
    for name, row in zip(ids, rows, strict=True):
        for question in questions:
            column = f"{prefix}{question.id}"
            text = _judged(row.get(names[column]) if column in names else None, question)
            if text is not None:
                where = f"{gold}: column {column} of {key} {name!r}"
                words[name][question.id] = _category(question, text, where)
    return Reference(gold, key, words)


def read_other(folder: Path, questions: Sequence[Question]) -> Reference:
    """Return the answers of a second descriptions folder, to the questions that have the same answers there.

    Raises
    ------
    ArtifactError
        The folder holds no descriptions, or its questions are not those that were asked.
    """
    question_set, rows = read_descriptions(folder)
    theirs = {question.id: (question.kind, question.answers) for question in question_set.questions}
    same = {question.id for question in questions if theirs.get(question.id) == (question.kind, question.answers)}
    words = {
        name: {question: word for question, word in given.words.items() if question in same and word != FAILED}
        for name, given in given_answers(rows, "report_id", question_set.questions).items()
    }
    return Reference(folder, "report_id", words)


def given_answers(rows: Sequence[Mapping[str, Any]], key: str, questions: Sequence[Question]) -> dict[str, Given]:
    """Return id -> answers from the rows of the answers table; reports of a patient are merged as in training."""
    if key == "patient_id":
        merged = answers_by_patient(rows)
        failed = {row["patient_id"] for row in rows if row["status"] == FAILED}
        return {
            patient: Given(
                patient,
                {
                    q.id: _word(merged.get(patient, {}).get(q.id), silent=FAILED if patient in failed else UNKNOWN)
                    for q in questions
                },
            )
            for patient in dict.fromkeys(row["patient_id"] for row in rows)
        }
    words: dict[str, dict[str, str]] = {}
    for row in rows:
        words.setdefault(row["report_id"], {})[row["question_id"]] = _word(row)
    patients = {row["report_id"]: row["patient_id"] for row in rows}
    return {name: Given(patients[name], answers) for name, answers in words.items()}


def _word(row: Mapping[str, Any] | None, silent: str = UNKNOWN) -> str:
    """Return an answer as the reference table would write it."""
    if row is None:
        return silent
    return str(row["value"] or STATED) if row["status"] == "value" else str(row["status"])


def _judged(cell: object, question: Question) -> str | None:
    """Return the text of a cell; None if nothing was judged. Words such as ``none`` may be answers of a question."""
    text = "" if cell is None else str(cell).strip()
    return text if text.lower() in question.answers else cell_text(cell)


def _category(question: Question, text: str, where: str) -> str:
    """Return a reference answer as a category of the question. A wrong value is not shown: it may be report text."""
    word = text.lower()
    if not question.answers:
        return UNKNOWN if word == UNKNOWN else STATED
    if word not in question.answers:
        raise CohortError(
            f"{where}: not an answer to {question.id}",
            hint=f"use {', '.join(question.answers)}, or leave the cell empty where nothing was judged",
        )
    return word
