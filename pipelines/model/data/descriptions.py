"""Fine-grained descriptions: questions are dropped, answers shuffled and joined anew at every step.

The paper's text augmentation, on lists of answers instead of token ids. A description is one answer
per question in the order of the question set, None where the report is silent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.core.patient_answers import answers_by_patient

Answers = tuple[str | None, ...]
"""One answer per question, None where unknown."""
JOINT = "; "


def patient_answers(rows: Iterable[Mapping[str, Any]], questions: Sequence[str]) -> dict[str, Answers]:
    """Return the answers of each patient from rows of the ANSWERS table.

    Of several reports of a patient one counts for each question, see `answers_by_patient`.
    Patients of whom nothing is known are left out.
    """
    descriptions = {
        patient: tuple(answers[question]["description"] if question in answers else None for question in questions)
        for patient, answers in answers_by_patient(rows).items()
    }
    return {patient: answers for patient, answers in descriptions.items() if any(answers)}


def kept_questions(n_questions: int, max_dropped: int, rng: np.random.Generator) -> list[int]:
    """Return the questions that a step keeps, in order: 0 to ``max_dropped`` are dropped, one always stays."""
    n_dropped = int(rng.integers(0, min(max_dropped, n_questions - 1) + 1))
    return sorted(rng.permutation(n_questions)[n_dropped:].tolist())


def full_text(answers: Answers) -> str:
    """Return all known answers in order, as one text."""
    return JOINT.join(_known(answers, range(len(answers))))


def rebuilt_texts(patients: Sequence[Answers], kept: Sequence[int], rng: np.random.Generator) -> list[str]:
    """Return for each patient the known answers to the kept questions, shuffled, as one text.

    Patients whose kept answers agree get the same text, as they must not be told apart. Where
    none of the kept answers is known, one known answer drawn at random stands in, so that every
    slide has something to match in every step.
    """
    texts: dict[tuple[str, ...], str] = {}
    contents = []
    for answers in patients:
        known = _known(answers, kept) or (str(rng.choice(_known(answers, range(len(answers))))),)
        if known not in texts:
            texts[known] = JOINT.join(rng.permutation(known))
        contents.append(known)
    return [texts[known] for known in contents]


def _known(answers: Answers, kept: Iterable[int]) -> tuple[str, ...]:
    return tuple(answer for index in kept if (answer := answers[index]) is not None)


def merge_equal(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the distinct texts in order of first appearance, and for each text the place of its equal."""
    distinct = list(dict.fromkeys(texts))
    place = {text: index for index, text in enumerate(distinct)}
    return distinct, [place[text] for text in texts]
