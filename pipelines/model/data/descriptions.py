"""Text augmentation of fine-grained descriptions: drop questions, then shuffle and join the answers.

This is the augmentation of FiVE (CVPR 2024), applied to lists of answers instead of token ids. A
description has one answer per question, in the order of the question set; None where the report
does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.core.patient_answers import answers_by_patient
from pipelines.core.questions import QuestionSet

Answers = tuple[str | None, ...]
"""One answer per question; None if unknown."""
SEPARATOR = "; "


def patient_answers(rows: Iterable[Mapping[str, Any]], questions: Sequence[str]) -> dict[str, Answers]:
    """Return patient -> answers from rows of the `ANSWERS` table.

    If a patient has several reports, `answers_by_patient` chooses one answer per question.
    Patients without any known answer are left out.
    """
    descriptions = {
        patient: tuple(answers[question]["description"] if question in answers else None for question in questions)
        for patient, answers in answers_by_patient(rows).items()
    }
    return {patient: answers for patient, answers in descriptions.items() if any(answers)}


def wordings_of(questions: QuestionSet) -> dict[str, Sequence[str]]:
    """Return training phrase -> the texts that say it, for the answers that the questions allow."""
    return {value.phrase: value.texts for question in questions.questions for value in question.values.values()}


def kept_questions(n_questions: int, max_dropped: int, rng: np.random.Generator) -> list[int]:
    """Drop 0 to ``max_dropped`` random questions and return the sorted indices of the others, at least one."""
    n_dropped = int(rng.integers(0, min(max_dropped, n_questions - 1) + 1))
    return sorted(rng.permutation(n_questions)[n_dropped:].tolist())


def full_text(answers: Answers) -> str:
    """Return all known answers as one text, in the order of the questions."""
    return SEPARATOR.join(_known(answers, range(len(answers))))


def rebuilt_texts(patients: Sequence[Answers], kept: Sequence[int], rng: np.random.Generator) -> list[str]:
    """Return one text per patient: the known answers to the kept questions, shuffled and joined.

    Patients with the same kept answers get the same text, because the loss must not treat them as
    different. If none of a patient's kept answers is known, one random known answer is used
    instead, so that every slide has a text in every step.
    """
    texts: dict[tuple[str, ...], str] = {}
    selected = []
    for answers in patients:
        known = _known(answers, kept) or (str(rng.choice(_known(answers, range(len(answers))))),)
        if known not in texts:
            texts[known] = SEPARATOR.join(rng.permutation(known))
        selected.append(known)
    return [texts[known] for known in selected]


def _known(answers: Answers, kept: Iterable[int]) -> tuple[str, ...]:
    return tuple(answer for index in kept if (answer := answers[index]) is not None)


def merge_equal(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the distinct texts in order of first appearance, and the index of each text among them."""
    distinct = list(dict.fromkeys(texts))
    index_of = {text: index for index, text in enumerate(distinct)}
    return distinct, [index_of[text] for text in texts]
