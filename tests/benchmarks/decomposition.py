"""What carries the result of FiVE on a cohort: it is trained on descriptions that lack something.

    python -m tests.benchmarks.decomposition features --cohort cohort.csv --descriptions descriptions \
        --classes classes.yaml --question histologic_type --means adenocarcinoma=LUAD squamous_cell=LUSC \
        -o decomposition

Folds and patients are those of `study`. Each row has the AUC on test patients, without labels and with all labels:

* all descriptions; only ``--question``; all but ``--question``; all, shuffled within a class; all, shuffled;
* labels only: no descriptions;
* nonsense classes: all descriptions, but the class texts are invented words;
* ``max`` and ``dsmil``, trained on the answers to ``--question`` as if they were labels.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.classes import load_classes, write_classes
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import load_questions, write_questions
from pipelines.core.resources import Resources
from pipelines.core.schemas import ANSWERS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.benchmarks.composed.wordings import nonsense
from tests.benchmarks.study import FOLDS, Cell, Study, Tested, interval, of_validation

CPU = Resources(device="cpu")
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Decomposition:
    """A cohort and the question that names its classes."""

    study: Study
    question: str
    means: Mapping[str, str]
    """Value of the question -> class."""

    def described(self, name: str, change: Callable[[Rows], Rows]) -> Path:
        """Write the descriptions that ``change`` makes of the answers, and return their folder."""
        folder = self.study.out / "descriptions" / name
        if not (folder / "answers.parquet").exists():
            rows = change(ANSWERS.read_rows(self.study.descriptions / "answers.parquet"))
            questions = load_questions(self.study.descriptions / "questions.yaml")
            asked = {row["question_id"] for row in rows}
            kept = tuple(each for each in questions.questions if each.id in asked)
            questions = questions.model_copy(update={"questions": kept})
            folder.mkdir(parents=True)
            ANSWERS.write(folder / "answers.parquet", rows, Provenance({"question_set": questions.fingerprint}))
            write_questions(questions, folder / "questions.yaml")
        return folder

    def of_other_patients(self, rows: Rows, groups: Mapping[str, str]) -> Rows:
        """Give each patient the answers of another patient of the same group."""
        rng = np.random.default_rng(0)
        taken: dict[str, str] = {}
        for group in sorted(set(groups.values())):
            members = sorted(patient for patient, its in groups.items() if its == group)
            taken |= dict(zip(members, rng.permutation(members).tolist(), strict=True))
        return [{**row, "patient_id": taken.get(row["patient_id"], row["patient_id"])} for row in rows]

    def labels(self) -> dict[str, str]:
        """Return patient -> class."""
        with self.study.cohort.open() as stream:
            return {row["patient_id"]: row["label"] for row in csv.DictReader(stream)}

    def with_labels_of_reports(self) -> Path:
        """Write the cohort with the class that the report names in place of the label."""
        path = self.study.out / "cohort-of-reports.csv"
        named = {
            row["patient_id"]: self.means.get(row["value"], "")
            for row in ANSWERS.read_rows(self.study.descriptions / "answers.parquet")
            if row["question_id"] == self.question
        }
        with self.study.cohort.open() as stream, path.open("w", newline="") as target:
            rows = list(csv.DictReader(stream))
            table = csv.DictWriter(target, list(rows[0]))
            table.writeheader()
            table.writerows({**row, "label": named.get(row["patient_id"], "")} for row in rows)
        return path

    def variants(self) -> Iterator[tuple[str, Path | None, Path]]:
        """Yield name, descriptions and class texts of each row of the table."""
        labels, classes, q = self.labels(), self.study.classes, self.question
        made: dict[str, Callable[[Rows], Rows]] = {
            "all descriptions": lambda rows: rows,
            f"only {q}": lambda rows: [row for row in rows if row["question_id"] == q],
            f"all but {q}": lambda rows: [row for row in rows if row["question_id"] != q],
            "shuffled within a class": lambda rows: self.of_other_patients(rows, labels),
            "shuffled": lambda rows: self.of_other_patients(rows, dict.fromkeys(labels, "all")),
        }
        for name, change in made.items():
            yield name, self.described(name.replace(" ", "-"), change), classes
        invented = self.study.out / "nonsense.yaml"
        texts = next(iter(nonsense(np.random.default_rng(0)).values()))
        write_classes({name: list(words) for name, words in zip(load_classes(classes), texts, strict=True)}, invented)
        yield "nonsense classes", self.described("all-descriptions", lambda rows: rows), invented
        yield "labels only", None, classes

    def five(self, name: str, descriptions: Path | None, classes: Path, fold: int) -> tuple[Tested | None, Tested]:
        """Return the test slides without labels, None without descriptions, and with all labels."""
        study, before = self.study, None
        splits = study.splits(Cell("supervised", None, "five", fold))
        folder = study.out / "runs" / name.replace(" ", "-") / str(fold)
        settings = TrainSettings(seed=fold, val_fraction=0)
        if descriptions:
            inputs = TrainInputs(study.features, study.cohort, descriptions, splits=splits)
            train(inputs, folder / "pretrained", settings, resources=CPU)
            before = self.tested(folder / "pretrained", classes)
        inputs = TrainInputs(
            study.features,
            study.cohort,
            classes=classes,
            init=folder / "pretrained" if descriptions else None,
            splits=splits,
        )
        labeled = TrainSettings(regime="finetune", seed=fold, val_fraction=0)
        train(inputs, folder / "labeled", labeled, resources=CPU)
        return before, self.tested(folder / "labeled", None)

    def baseline(self, model: str, cohort: Path, fold: int) -> Tested:
        """Return the test slides of a baseline that was trained on the labels in ``cohort``."""
        study, run = self.study, self.study.out / "runs" / f"{model}-of-reports" / str(fold)
        given = study.splits(Cell("supervised", None, model, fold))
        settings = TrainSettings(regime="finetune", model=model, seed=fold, **of_validation(given))  # type: ignore[arg-type]
        train(TrainInputs(study.features, cohort, splits=given), run, settings, resources=CPU)
        return self.tested(run, None)

    def tested(self, run: Path, classes: Path | None) -> Tested:
        """Return the test slides of a run, with their true labels."""
        out = run.with_name(f"{run.name}-predictions")
        inputs = PredictInputs(self.study.features, run, self.study.cohort, classes)
        predict(inputs, out, PredictSettings("test", attention=False), resources=CPU)
        tested = Tested.read(out)
        assert tested is not None
        return tested


def main() -> None:
    """Run all rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    for name in ("cohort", "descriptions", "classes"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--question", required=True)
    parser.add_argument("--means", nargs="+", required=True, metavar="VALUE=CLASS")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(given.features, given.cohort, given.descriptions, given.classes, given.out, {})
    means = dict(pair.split("=") for pair in given.means)
    decomposition = Decomposition(study, given.question, means)
    for name, descriptions, classes in decomposition.variants():
        pairs = [decomposition.five(name, descriptions, classes, fold) for fold in range(FOLDS)]
        show(f"five, {name}", [before for before, _ in pairs if before], [after for _, after in pairs])
    cohort = decomposition.with_labels_of_reports()
    for model in ("max", "dsmil"):
        show(
            f"{model}, {given.question} as label", [decomposition.baseline(model, cohort, k) for k in range(FOLDS)], []
        )


def show(name: str, *columns: Sequence[Tested]) -> None:
    """Print mean and 95 % interval of the AUC without labels and with all labels."""
    intervals = (interval([[run] for run in runs], Tested.auc) if runs else None for runs in columns)
    texts = [f"{each[0]:.3f} ({each[1]:.3f} to {each[2]:.3f})" if each else "" for each in intervals]
    print(f"{name:40}", *(f"{text:>24}" for text in texts), flush=True)


if __name__ == "__main__":
    main()
