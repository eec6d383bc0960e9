"""Compare FiVE and the baselines on one cohort: supervised, few-shot and zero-shot, on the same patients.

    python -m tests.benchmarks.study features --cohort cohort.csv --descriptions descriptions \
        --classes classes.yaml -o study

Patients are split into five folds, the same for every method:

* supervised: train on the labels of the other four folds. 15 % of these patients are used for
  validation, to choose the epoch. Methods without epochs (``five`` and ``mean-lr``) train on all
  of them.
* few-shot: train on 1, 2, 4, 8 or 16 patients per class, drawn once per fold from the training and
  validation patients. There is no validation: the model of the last epoch is tested.
* zero-shot: FiVE (``five``) and the published network (``five-fusion``) after pretraining, with class texts.

In all settings, these two are first pretrained on the descriptions of the training patients.
``mean-lr`` is logistic regression on mean features. Finished runs are kept, so the same command
resumes after an interruption. Several processes can share the work with ``--methods``. The table gives
means over the five runs with 95 % bootstrap intervals (resampling runs and slides), and the advantage of
``five`` over each method on the same slides.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.provenance import Provenance
from pipelines.core.resources import Resources
from pipelines.core.run_manifest import WEIGHTS
from pipelines.core.schemas import PREDICTIONS, SPLITS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.core.settings.model import BASELINES, PROTOTYPES
from pipelines.model.data.feature_cohort import read_feature_cohort
from pipelines.model.data.splits import make_splits
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.benchmarks.mean_pool_baseline import mean_features, predict_run

FOLDS = 5
SHOTS = (1, 2, 4, 8, 16)
OURS = ("five", "five-fusion")
METHODS = (*OURS, *BASELINES, "mean-lr")
WITHOUT_EPOCHS = ("five", "mean-lr", *PROTOTYPES)
"""Methods that do not use validation slides."""
RESAMPLES = 1000
"""Bootstrap resamples."""
PRETRAINING = {"tuning": "frozen"}
"""Pretraining settings that differ from the defaults: a frozen text model is fast enough for two CPU cores."""
PROVENANCE = Provenance({"made_by": "tests.benchmarks.study"})


@dataclass(frozen=True)
class Cell:
    """One method in one setting and fold: a training and a test."""

    part: str
    """``supervised``, ``few-shot`` or ``zero-shot``."""
    shots: int | None
    method: str
    fold: int

    @property
    def name(self) -> str:
        """Unique name, used for the folders of the cell."""
        return f"{self.part}{self.shots or ''}/{self.method}/{self.fold}"


@dataclass(frozen=True)
class Study:
    """The files of a cohort and the output folder."""

    features: Path
    cohort: Path
    descriptions: Path
    classes: Path
    out: Path
    settings: dict[str, Any]
    """Training settings that differ from the defaults, for every method."""

    def cells(self, parts: Sequence[str], methods: Sequence[str]) -> Iterator[Cell]:
        """Yield the selected cells fold by fold, so that early results cover all methods."""
        for fold in range(FOLDS):
            for method in methods:
                if "zero-shot" in parts and method in OURS:
                    yield Cell("zero-shot", None, method, fold)
                if "supervised" in parts:
                    yield Cell("supervised", None, method, fold)
                for shots in SHOTS if "few-shot" in parts else ():
                    yield Cell("few-shot", shots, method, fold)

    def folder(self, cell: Cell) -> Path:
        """Return the folder for the predictions of ``cell``."""
        return self.out / "predictions" / cell.name

    def run(self, cell: Cell) -> None:
        """Train and predict, unless the predictions exist."""
        if (self.folder(cell) / "predictions.parquet").exists() and not (self.folder(cell) / "five.json").exists():
            return  # a finished logistic regression
        if (self.folder(cell) / "patients.parquet").exists():
            return
        splits = self.splits(cell)
        if cell.method == "mean-lr":
            rows = predict_run(self.pooled, splits.parent, with_val=False, seed=cell.fold)
            PREDICTIONS.write(self.folder(cell) / "predictions.parquet", rows, PROVENANCE)
            return
        run = self._pretrained(cell) if cell.method in OURS else None
        if cell.part != "zero-shot":
            run = self._trained(cell, splits, run)
        classes = self.classes if cell.part == "zero-shot" else None
        inputs = PredictInputs(self.features, run, self.cohort, classes)
        predict(inputs, self.folder(cell), PredictSettings("test", attention=False), resources=Resources(device="cpu"))
        if cell.part != "zero-shot":
            (run / WEIGHTS).unlink()  # 250 runs of up to 30 MB

    def splits(self, cell: Cell) -> Path:
        """Return the split file of ``cell``, written if missing; its test patients are the same for every method."""
        has_epochs = cell.method not in WITHOUT_EPOCHS
        folder = self.out / "splits" / f"{cell.part}{cell.shots or ''}{'' if has_epochs else '-all'}-{cell.fold}"
        path = folder / "splits.parquet"
        if not path.exists():
            slides = read_feature_cohort(self.features, self.cohort).slides
            rows = make_splits(slides, folds=FOLDS, fold=cell.fold, val_fraction=0.15, test_fraction=0, seed=0)
            if cell.shots:
                drawn = _draw_patients(rows, cell.shots, seed=cell.fold)
                rows = [{**row, "split": "train"} for row in rows if row["patient_id"] in drawn] + [
                    row for row in rows if row["split"] == "test"
                ]
            if not has_epochs:
                rows = [{**row, "split": "train" if row["split"] == "val" else row["split"]} for row in rows]
            SPLITS.write(path, rows, PROVENANCE)
        return path

    @cached_property
    def pooled(self) -> dict[str, np.ndarray]:
        """Slide id -> mean of its features, (D,)."""
        return mean_features(
            self.features, [slide.slide_id for slide in read_feature_cohort(self.features, None).slides]
        )

    def _pretrained(self, cell: Cell) -> Path:
        run = self.out / "pretrained" / cell.method / str(cell.fold)
        splits = self.splits(Cell("supervised", None, cell.method, cell.fold))
        inputs = TrainInputs(self.features, self.cohort, self.descriptions, splits=splits)
        without = of_validation(splits)
        settings = TrainSettings(model=cell.method, seed=cell.fold, **without, **PRETRAINING, **self.settings)  # type: ignore[arg-type]
        train(inputs, run, settings, resources=Resources(device="cpu"))
        return run

    def _trained(self, cell: Cell, splits: Path, init: Path | None) -> Path:
        run = self.out / "runs" / cell.name
        is_ours = cell.method in OURS
        inputs = TrainInputs(
            self.features, self.cohort, classes=self.classes if is_ours else None, init=init, splits=splits
        )
        model = {} if is_ours else {"model": cell.method}  # for ours, `init` determines the model
        settings = TrainSettings(regime="finetune", seed=cell.fold, **of_validation(splits), **model, **self.settings)  # type: ignore[arg-type]
        if (run / "five.json").exists() and not (run / WEIGHTS).exists():
            shutil.rmtree(run)
        train(inputs, run, settings, resources=Resources(device="cpu"))
        return run


def of_validation(splits: Path) -> dict[str, float]:
    """Return the setting that keeps all training patients in ``splits`` for training if none are for validation."""
    has_some = any(row["split"] == "val" for row in SPLITS.read_rows(splits))
    return {} if has_some else {"val_fraction": 0}


def _draw_patients(rows: Sequence[dict[str, Any]], shots: int, *, seed: int) -> set[str]:
    """Return ``shots`` training or validation patients per class; larger draws contain the smaller ones."""
    drawn: set[str] = set()
    rng = np.random.default_rng([seed, 16])
    for label in sorted({row["label"] for row in rows}):
        patients = sorted({row["patient_id"] for row in rows if row["label"] == label and row["split"] != "test"})
        drawn |= set(rng.permutation(patients)[:shots].tolist())
    return drawn


@dataclass(frozen=True)
class Tested:
    """Labels and logits of the test slides of one cell."""

    labels: np.ndarray
    """(n,) class index of each slide."""
    logits: np.ndarray
    """(n, K) for K classes."""

    @classmethod
    def read(cls, folder: Path) -> Tested | None:
        """Return the test slides in a folder of predictions; None if the cell is not finished."""
        path = folder / "predictions.parquet"
        if not path.exists():
            return None
        rows = sorted(
            (r for r in PREDICTIONS.read_rows(path) if r["split"] == "test"), key=lambda r: str(r["slide_id"])
        )
        names = sorted(name.removeprefix("logit_") for name in rows[0] if name.startswith("logit_"))
        logits = np.array([[row[f"logit_{name}"] for name in names] for row in rows])
        return cls(np.array([names.index(row["label"]) for row in rows]), logits)

    def accuracy(self, rows: np.ndarray) -> float:
        """Return the accuracy on the slides in ``rows`` (indices)."""
        return float((self.logits[rows].argmax(axis=1) == self.labels[rows]).mean())

    def auc(self, rows: np.ndarray) -> float:
        """Return the one-vs-rest ROC AUC, averaged over classes, on the slides in ``rows``.

        It is NaN if a class is missing. With two classes, only the second is scored.
        """
        labels, logits = self.labels[rows], self.logits[rows]
        aucs = []
        for k in range(1, logits.shape[1]) if logits.shape[1] == 2 else range(logits.shape[1]):
            scores = logits[:, k] - np.delete(logits, k, axis=1).max(axis=1)
            own, others = scores[labels == k, None], scores[labels != k]
            aucs.append(((own > others) + (own == others) / 2).mean() if own.size and others.size else np.nan)
        return float(np.mean(aucs))


Metric = Callable[[Tested, np.ndarray], float]


def interval(runs: Sequence[Sequence[Tested]], metric: Metric) -> tuple[float, float, float]:
    """Return mean, lower and upper 95 % bound of a metric, or of its difference between two methods.

    Parameters
    ----------
    runs
        Per run, the test slides of a method and, for a difference, those of the method to subtract.
    metric
        Function of test slides and row indices, for example `Tested.auc`.
    """
    rng = np.random.default_rng(0)

    def value(tested: Sequence[Tested], rows: np.ndarray) -> float:
        values = [metric(each, rows) for each in tested]
        return values[0] - values[1] if len(values) > 1 else values[0]

    def resampled() -> float:
        picked = [runs[index] for index in rng.integers(len(runs), size=len(runs))]
        return float(np.nanmean([value(t, rng.integers(len(t[0].labels), size=len(t[0].labels))) for t in picked]))

    mean = float(np.mean([value(tested, np.arange(len(tested[0].labels))) for tested in runs]))
    low, high = np.percentile([resampled() for _ in range(RESAMPLES)], [2.5, 97.5])
    return mean, float(low), float(high)


def write_table(study: Study) -> None:
    """Print a table of all finished cells and write it to ``study.csv``."""
    rows = []
    conditions = [("zero-shot", None), ("supervised", None), *(("few-shot", shots) for shots in SHOTS)]
    print(f"{'':<14} {'method':<11} runs {'accuracy':>22} {'AUC':>22} {'AUC of five - method':>22}")
    for part, shots in conditions:
        tested = {m: [Tested.read(study.folder(Cell(part, shots, m, fold))) for fold in range(FOLDS)] for m in METHODS}
        for method, runs in tested.items():
            finished = [(run, five) for run, five in zip(runs, tested[OURS[0]], strict=True) if run is not None]
            if not finished:
                continue
            row: dict[str, Any] = {"part": part, "shots": shots or "", "method": method, "runs": len(finished)}
            pairs = [(five, run) for run, five in finished if five is not None and method != OURS[0]]
            metrics = {
                "accuracy": interval([run[:1] for run in finished], Tested.accuracy),
                "auc": interval([run[:1] for run in finished], Tested.auc),
                **({"five_ahead": interval(pairs, Tested.auc)} if pairs else {}),
            }
            for name, (mean, low, high) in metrics.items():
                row |= {name: round(mean, 4), f"{name}_low": round(low, 4), f"{name}_high": round(high, 4)}
            rows.append(row)
            texts = [f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in metrics.values()]
            print(
                f"{part} {shots or '':<4} {method:<11} {len(finished):>4} " + " ".join(f"{text:>22}" for text in texts)
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (study.out / "study.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, names)
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    """Run all cells that are not finished and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="folder of five embed")
    for name in ("cohort", "descriptions", "classes"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument(
        "--parts", nargs="+", default=["zero-shot", "few-shot", "supervised"], help="settings to run (default: all)"
    )
    parser.add_argument(
        "--methods",
        nargs="*",
        default=METHODS,
        metavar="METHOD",
        help=f"one or more of {', '.join(METHODS)} (default: all)",
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="training settings, for all methods")
    arguments = parser.parse_args()
    settings = {name: _value(text) for name, text in (pair.split("=") for pair in arguments.set)}
    torch.set_num_threads(1)
    study = Study(
        arguments.features, arguments.cohort, arguments.descriptions, arguments.classes, arguments.out, settings
    )
    study.out.mkdir(parents=True, exist_ok=True)
    for cell in study.cells(arguments.parts, arguments.methods):
        study.run(cell)
    write_table(study)


def _value(text: str) -> Any:
    """Return an int or float if the text is one, else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    main()
