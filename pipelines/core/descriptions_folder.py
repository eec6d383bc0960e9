"""The output folder of `five describe-reports` as later commands read it: the questions and the answers to them.

``questions.yaml`` is a text file without a digest, but ``answers.parquet`` has one, and records the fingerprint of the
questions. So a wrong letter in a question is noticed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.core.errors import ArtifactError
from pipelines.core.question_files import load_questions
from pipelines.core.questions import QuestionSet
from pipelines.core.schemas import ANSWERS
from pipelines.core.settings import Settings

QUESTIONS_FILE, ANSWERS_FILE = "questions.yaml", "answers.parquet"
QUESTION_SET = "question_set"
"""Recorded setting of the answers: the fingerprint of the questions that were asked."""


def asked(settings: Settings, questions: QuestionSet) -> dict[str, Any]:
    """Return the settings to record with the answers to ``questions``."""
    return {**settings.as_dict(), QUESTION_SET: questions.fingerprint}


def read_questions(folder: Path) -> QuestionSet:
    """Return the questions of a descriptions folder after checking that they are the ones that were asked.

    Raises
    ------
    FiveError
        ``questions.yaml`` or ``answers.parquet`` is missing or damaged, or they do not belong together.
    """
    path, made = folder / QUESTIONS_FILE, ANSWERS.provenance(folder / ANSWERS_FILE)
    if not path.exists():
        raise _other_questions(folder, "no such file")
    questions = load_questions(path)
    if made.settings.get(QUESTION_SET) != questions.fingerprint:
        raise _other_questions(folder, "not the questions that were asked; the file is damaged or was edited")
    return questions


def read_descriptions(folder: Path) -> tuple[QuestionSet, list[dict[str, Any]]]:
    """Return the questions (see `read_questions`) and the rows of the answers to them."""
    questions, rows = read_questions(folder), ANSWERS.read_rows(folder / ANSWERS_FILE)
    answered = {row["question_id"] for row in rows}
    if rows and answered != set(questions.ids):
        name = min(answered ^ set(questions.ids))
        raise _other_questions(folder, f"the question {name!r} is only in one of {QUESTIONS_FILE} and {ANSWERS_FILE}")
    return questions, rows


def _other_questions(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{folder / QUESTIONS_FILE}: {reason}",
        hint="run the same `five describe-reports` command again; it keeps the answers and writes this file. To change "
        "the questions, edit a copy of the file, and give it to `five describe-reports --questions`",
    )
