"""What supervises a run: which slides have a description or a label, and the objective they give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.core.errors import CohortError
from pipelines.core.questions import QuestionSet
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.descriptions import Answers, full_text
from pipelines.model.training.objectives import ClassMatching, DescriptionMatching, Objective

SplitRows = Sequence[Mapping[str, Any]]
"""Rows of the SPLITS table."""


@dataclass(frozen=True)
class Task:
    """What supervises a run."""

    objective: Objective
    slides: frozenset[str]
    """Slides that training and validation may use."""
    questions: QuestionSet | None
    """Their prompts guide the model; None for a model without question prompts."""
    texts: Sequence[str]
    """The longest texts that the text model has to read."""
    left_out: Mapping[str, int]
    """Reason -> number of slides or patients that are not used."""
    classes: Mapping[str, Sequence[str]] | None = None
    """Class -> texts, where there are classes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Slide id -> class, where there are classes."""


def description_task(
    splits: SplitRows, patients: Mapping[str, Answers], questions: QuestionSet, settings: TrainSettings
) -> Task:
    """Return the task of matching slides with the descriptions of their patients.

    Slides of patients without description, and patients without slides, are counted.

    Raises
    ------
    CohortError
        No training patient has a description.
    """
    used = [row for row in splits if row["split"] != "test"]
    answers = {row["slide_id"]: patients[row["patient_id"]] for row in used if row["patient_id"] in patients}
    trained = {row["patient_id"] for row in used if row["split"] == "train" and row["slide_id"] in answers}
    if not trained:
        raise CohortError(
            f"descriptions: none is of one of the {len({r['patient_id'] for r in used})} training patients",
            hint="patient_id must be the same in reports and cohort",
        )
    left_out = {
        "slides_without_description": sum(row["slide_id"] not in answers for row in used),
        "described_patients_without_slides": len(patients.keys() - {row["patient_id"] for row in splits}),
    }
    objective = DescriptionMatching(answers, [patients[patient] for patient in sorted(trained)], settings)
    texts = sorted({full_text(answer) for answer in answers.values()})
    return Task(objective, frozenset(answers), questions, texts, left_out)


def class_task(
    splits: SplitRows,
    classes: Mapping[str, Sequence[str]] | None,
    questions: QuestionSet | None,
    settings: TrainSettings,
) -> Task:
    """Return the task of matching slides with the texts of their class.

    Slides without a label are counted. ``classes`` may be None for a baseline, which reads no
    texts: the classes are then the labels.

    Raises
    ------
    CohortError
        A label has no class text, or the training slides are of one class.
    """
    used = [row for row in splits if row["split"] != "test"]
    labels = {row["slide_id"]: row["label"] for row in used if row["label"]}
    classes = classes or {label: [label] for label in sorted(set(labels.values()))}
    unknown = sorted(set(labels.values()) - classes.keys())
    if unknown:
        raise CohortError(
            f"no class text for the label {unknown[0]!r} of the cohort",
            hint=f"the classes are {', '.join(classes)}; add this one, or take its slides out of the cohort",
        )
    training: SplitRows = [row for row in used if row["split"] == "train" and row["label"]]
    if settings.shots is not None or settings.percent is not None:
        training = _drawn_patients(training, settings)
    present = sorted({row["label"] for row in training})
    if len(present) < 2:
        raise CohortError(
            f"cohort: training slides of {len(present)} class ({', '.join(present) or 'no labels'})",
            hint="give --cohort a table whose column label is filled; training needs slides of two or more classes",
        )
    val = [row for row in used if row["split"] == "val" and row["label"]]
    return Task(
        objective=ClassMatching(classes, labels, _class_weights(training, settings)),
        slides=frozenset(row["slide_id"] for row in [*training, *val]),
        questions=questions,
        texts=[text for texts in classes.values() for text in texts],
        left_out={"slides_without_label": len(used) - len(labels)},
        classes=classes,
        labels=labels,
    )


def _drawn_patients(rows: SplitRows, settings: TrainSettings) -> SplitRows:
    """Return the rows of ``shots`` patients a class, or of ``percent`` percent of them, at least one."""
    rng = np.random.default_rng([settings.seed, 2])
    drawn: set[tuple[str, str]] = set()
    for label in sorted({row["label"] for row in rows}):
        patients = sorted({row["patient_id"] for row in rows if row["label"] == label})
        number = settings.shots or max(1, round(len(patients) * (settings.percent or 100) / 100))
        drawn |= {(label, patient) for patient in rng.permutation(patients)[:number].tolist()}
    return [row for row in rows if (row["label"], row["patient_id"]) in drawn]


def _class_weights(rows: SplitRows, settings: TrainSettings) -> dict[str, float]:
    """Return class -> weight of its slides in the loss, 1 on average over ``rows``; empty without weighting."""
    if settings.balance != "weights":
        return {}
    counts = Counter(row["label"] for row in rows)
    return {label: len(rows) / (len(counts) * count) for label, count in counts.items()}
