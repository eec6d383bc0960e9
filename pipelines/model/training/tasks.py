"""Choose the slides that have a description or a label, and make the objective of a run from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.core.errors import CohortError
from pipelines.core.questions import Question, QuestionSet
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.descriptions import Answers, full_text, wordings_of
from pipelines.model.training.objectives import ClassMatching, DescriptionMatching, Objective

ABOUT_CLASSES = QuestionSet(
    name="classes",
    title="What the class texts say, compared with the tiles in the space of the image encoder",
    questions=(Question(id="class", question="Which of the classes is it?", prompt="class", kind="phrase"),),
)
"""The only question of a model that learns from labels alone, on features that share a space with texts."""

SplitRows = Sequence[Mapping[str, Any]]
"""Rows of the SPLITS table."""


@dataclass(frozen=True)
class Task:
    """The supervision of a run."""

    objective: Objective
    slides: frozenset[str]
    """Slides that training and validation may use."""
    questions: QuestionSet | None
    """Questions whose prompts guide the model; None for a model without question prompts."""
    texts: Sequence[str]
    """The longest texts that the text model reads."""
    left_out: Mapping[str, int]
    """Reason -> number of slides or patients that are not used."""
    classes: Mapping[str, Sequence[str]] | None = None
    """Class -> texts; None without classes."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Slide id -> class; empty without classes."""
    answers: Mapping[str, Answers] = field(default_factory=dict)
    """Slide id -> answers of its patient; empty without descriptions."""


def description_task(
    splits: SplitRows, patients: Mapping[str, Answers], questions: QuestionSet, settings: TrainSettings
) -> Task:
    """Return the task of matching slides with the descriptions of their patients.

    Slides of patients without a description, and described patients without slides, are counted.

    Parameters
    ----------
    patients
        Patient id -> answers of the patient's reports.

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
            f"descriptions: none belongs to any of the {len({r['patient_id'] for r in used})} training patients",
            hint="patient_id must match between the reports and the cohort",
        )
    left_out = {
        "slides_without_description": sum(row["slide_id"] not in answers for row in used),
        "described_patients_without_slides": len(patients.keys() - {row["patient_id"] for row in splits}),
    }
    others = [patients[patient] for patient in sorted(trained)]
    objective = DescriptionMatching(answers, others, settings, wordings_of(questions))
    texts = sorted({full_text(answer) for answer in answers.values()})
    return Task(objective, frozenset(answers), questions, texts, left_out, answers=answers)


def class_task(
    splits: SplitRows,
    classes: Mapping[str, Sequence[str]] | None,
    questions: QuestionSet | None,
    settings: TrainSettings,
) -> Task:
    """Return the task of matching slides with their classes.

    With ``shots`` or ``percent``, only the drawn labels are used: validation slides are left out, because choosing
    an epoch or a probe strength by them would use their labels. Slides without a label are counted.

    Parameters
    ----------
    classes
        Class -> texts. None uses the labels as classes, for a model that reads no class texts.

    Raises
    ------
    CohortError
        A label has no class text, or the training slides have fewer than two classes.
    """
    used = [row for row in splits if row["split"] != "test"]
    labels = {row["slide_id"]: row["label"] for row in used if row["label"]}
    classes = classes or {label: [label] for label in sorted(set(labels.values()))}
    unknown = sorted(set(labels.values()) - classes.keys())
    if unknown:
        raise CohortError(
            f"no class text for the label {unknown[0]!r} of the cohort",
            hint=f"the classes are {', '.join(classes)}; add this class, or remove its slides from the cohort",
        )
    training: SplitRows = [row for row in used if row["split"] == "train" and row["label"]]
    val = [row for row in used if row["split"] == "val" and row["label"]]
    left_out = {"slides_without_label": len(used) - len(labels)}
    if settings.shots is not None or settings.percent is not None:
        training = _drawn_patients(training, settings)
        left_out["validation_slides_unused_because_of_shots_or_percent"] = len(val)
        val = []
    present = sorted({row["label"] for row in training})
    if len(present) < 2:
        raise CohortError(
            f"cohort: the training slides have {len(present)} class ({', '.join(present) or 'no labels'})",
            hint="training needs two or more classes; fill the column `label` of the --cohort table",
        )
    return Task(
        objective=ClassMatching(
            classes, labels, _class_weights(training, settings), asks_about_classes=questions == ABOUT_CLASSES
        ),
        slides=frozenset(row["slide_id"] for row in [*training, *val]),
        questions=questions,
        texts=[text for texts in classes.values() for text in texts],
        left_out=left_out,
        classes=classes,
        labels=labels,
    )


def require_all_classes(classes: Sequence[str], train_labels: Sequence[str]) -> None:
    """Raise a `CohortError` that names the classes without a training slide, if there are any."""
    absent = [name for name in classes if name not in train_labels]
    if absent:
        raise CohortError(
            f"no training slide of class {', '.join(absent)}",
            hint="add labeled slides of the class to the cohort, or remove the class from --classes",
        )


def _drawn_patients(rows: SplitRows, settings: TrainSettings) -> SplitRows:
    """Return the rows of ``shots`` random patients per class, or of ``percent`` % of them but at least one."""
    rng = np.random.default_rng([settings.seed, 2])
    drawn: set[tuple[str, str]] = set()
    for label in sorted({row["label"] for row in rows}):
        patients = sorted({row["patient_id"] for row in rows if row["label"] == label})
        number = settings.shots or max(1, round(len(patients) * (settings.percent or 100) / 100))
        drawn |= {(label, patient) for patient in rng.permutation(patients)[:number].tolist()}
    return [row for row in rows if (row["label"], row["patient_id"]) in drawn]


def _class_weights(rows: SplitRows, settings: TrainSettings) -> dict[str, float]:
    """Return class -> weight of its slides in the loss, with mean 1 over ``rows``; empty without weighting."""
    if settings.balance != "weights":
        return {}
    counts = Counter(row["label"] for row in rows)
    return {label: len(rows) / (len(counts) * count) for label, count in counts.items()}
