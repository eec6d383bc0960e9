"""A cohort with random labels, on which an honest model has an AUC of 0.5 for held-out patients.

Every patient has a signature of its own in the features, so a model that has seen a patient's label or description can
recall it: the AUC of a leak is far from 0.5.
"""

import csv
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.core.question_files import write_questions
from pipelines.core.schemas import ANSWERS, EMBEDDED_SLIDES, SPLITS
from pipelines.train import TrainInputs
from tests.synthetic_features import ANSWERS_OF, ASKED, CLASSES, PROVENANCE, QUESTIONS, write_bag

N_PATIENTS, N_OTHERS = 60, 20
DIM = 96
"""Channels; with more channels than training patients, a linear model can recall each of them."""
OTHER = {"round": "spindle", "spindle": "round"}
SPLIT = ["train"] * 20 + ["val"] * 10 + ["test"] * 30
"""Split of each patient in the cohort's split column and in the CLAM file."""


@dataclass(frozen=True)
class RandomCohort:
    """A folder with features, tables, descriptions and class texts; slide ``s07`` belongs to patient ``p07``."""

    folder: Path
    labels: dict[str, str]
    """Slide id -> label; slides with an ``o`` belong to another cohort, on which no run is trained."""

    @property
    def features(self):
        return self.folder / "features"

    def table(self, name, *, patient="p", split=False, slides=None):
        """Write a cohort table; ``patient`` is the first letter of the patients' names, None leaves the column out."""
        path = self.folder / f"{name}.csv"
        with path.open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["slide_id", "label"] + ["patient_id"] * (patient is not None) + ["split"] * split)
            for slide in slides or self.own:
                row = [slide, self.labels[slide]] + ([f"{patient}{slide.removeprefix('s')}"] if patient else [])
                table.writerow(row + ([SPLIT[int(slide[1:])]] if split else []))
        return path

    @property
    def own(self):
        return [slide for slide in self.labels if slide.startswith("s")]

    def inputs(self, table, **more):
        return TrainInputs(self.features, table, self.folder / "descriptions", self.folder / "classes.yaml", **more)

    def with_swapped(self, folder, *splits):
        """Return a copy in which the labels and descriptions of the patients in ``splits`` are swapped."""
        shutil.copytree(self.folder, folder)
        swapped = {f"s{number:02d}" for number, split in enumerate(SPLIT) if split in splits}
        labels = {slide: OTHER[label] if slide in swapped else label for slide, label in self.labels.items()}
        copy = replace(self, folder=folder, labels=labels)
        write_descriptions(copy)
        return copy

    def clam_file(self):
        parts = {
            part: [f"s{n:02d}" for n, split in enumerate(SPLIT) if split == part] for part in ("train", "val", "test")
        }
        lines = [f"{row},{','.join((parts[part] + [''] * 30)[row] for part in parts)}" for row in range(30)]
        path = self.folder / "splits_0.csv"
        path.write_text("\n".join([",train,val,test", *lines]))
        return path


def write_random_cohort(folder, *, seed=0):
    rng = np.random.default_rng(seed)
    numbers = [f"s{number:02d}" for number in range(N_PATIENTS)] + [f"o{number:02d}" for number in range(N_OTHERS)]
    labels = rng.permutation(np.repeat(list(OTHER), (N_PATIENTS + N_OTHERS) // 2)).tolist()
    cohort = RandomCohort(folder, dict(zip(numbers, labels, strict=True)))
    for slide in numbers:
        signature = rng.normal(scale=2.0, size=DIM)
        write_bag(cohort.features, slide, signature + rng.normal(size=(8, DIM)))
    rows = [{"slide_id": slide, "status": "ok", "encoder": "toy", "dim": DIM} for slide in numbers]
    EMBEDDED_SLIDES.write(cohort.features / "slides.parquet", rows, PROVENANCE)
    write_descriptions(cohort)
    write_questions(QUESTIONS, folder / "descriptions" / "questions.yaml")
    texts = "".join(f"  {name}: {text}\n" for name, text in CLASSES.items())
    (folder / "classes.yaml").write_text(f"classes:\n{texts}")
    return cohort


def write_descriptions(cohort):
    """Write descriptions that state the label of each patient."""
    answers = [
        {"report_id": f"r{slide}", "patient_id": f"p{slide[1:]}", "question_id": question, "status": "value"}
        | {"description": phrase}
        for slide in cohort.own
        for question, phrase in zip(QUESTIONS.ids, ANSWERS_OF[cohort.labels[slide]], strict=True)
    ]
    ANSWERS.write(cohort.folder / "descriptions" / "answers.parquet", answers, ASKED)


def held_out(run):
    """Return the test slides of a run, as its own table lists them."""
    return {row["slide_id"] for row in SPLITS.read_rows(run / "splits.parquet") if row["split"] == "test"}


def auc(rows):
    """Return the share of pairs of a round and a spindle slide that the scores order right; ties count half."""
    score = {True: [], False: []}
    for row in rows:
        score[row["label"] == "round"].append(row["logit_round"] - row["logit_spindle"])
    right, wrong = np.array(score[True]), np.array(score[False])
    return float(((right[:, None] > wrong) + 0.5 * (right[:, None] == wrong)).mean())


def interval_of_chance(rows):
    """Return the interval that holds the AUC of 999 of 1,000 random labels with as many slides of each class.

    The variance of the AUC of random labels is that of the Mann-Whitney statistic.
    """
    n_round = sum(row["label"] == "round" for row in rows)
    n_spindle = len(rows) - n_round
    spread = 3.29 * ((len(rows) + 1) / (12 * n_round * n_spindle)) ** 0.5
    return 0.5 - spread, 0.5 + spread
