"""Stage ``five evaluate``: metrics of predictions on slides that the run was not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.cohort import read_cohort
from pipelines.core.errors import ArtifactError, CohortError
from pipelines.core.folder import CLAIM, read_claim
from pipelines.core.labels import PatientLabels, patient_labels, refuse_near_equal
from pipelines.core.metrics.classification import METRIC_NAMES, measure, one_vs_rest_scores
from pipelines.core.metrics.confusion import confusion_table
from pipelines.core.metrics.metric import Metric
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS
from pipelines.core.settings import EvaluateSettings
from pipelines.core.tables import TableArtifact
from pipelines.core.user_tables import cell_text
from pipelines.model.prediction.patients_table import refuse_stale_patients

__all__ = ["EvaluateInputs", "EvaluateSettings", "evaluate"]

TRAINED_ON = ("train", "val")


@dataclass(frozen=True)
class Measured:
    """Metrics of one run, or of several runs pooled."""

    name: str
    n: int
    """Number of slides or patients counted."""
    n_patients: int
    metrics: tuple[Metric, ...]
    confusion: list[list[int]]
    """Rows are labels, columns are predictions, in the order of the classes."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a metric over several runs."""

    name: str
    mean: float
    sd: float | None
    """Sample standard deviation; None for one run."""
    n_runs: int
    """Number of runs for which the metric is defined."""


@dataclass(frozen=True)
class Evaluation:
    """Result of `evaluate`."""

    classes: tuple[str, ...]
    settings: Mapping[str, Any]
    runs: tuple[Measured, ...]
    pooled: Measured | None
    """All runs together, if each slide is tested by one run only; otherwise None."""
    spread: tuple[Spread, ...]
    left_out: Mapping[str, int]
    """Reason -> number of predictions that are not counted."""
    facts: Mapping[str, Any]
    """What else to show, for example that no slide has a patient."""
    rows: tuple[Mapping[str, Any], ...]
    """The predictions that are counted, each with its folder as ``run`` and its slide or patient as ``item``."""


@dataclass(frozen=True)
class EvaluateInputs:
    """Inputs of `evaluate`."""

    predictions: Sequence[Path]
    """Folders of ``five predict``, with ``predictions.parquet`` (``patients.parquet`` at patient level)."""
    cohort: Path | None = None
    """Table whose labels replace those in the predictions."""


def evaluate(inputs: EvaluateInputs, settings: EvaluateSettings) -> Evaluation:
    """Measure the predictions in one or several folders of ``five predict``.

    Several folders are the folds of a cross-validation, or runs with several seeds. If each slide
    is tested by one run only, the predictions are pooled. If some slides are tested by several
    runs, only the mean and the spread over runs are reported, so that no prediction counts twice.

    Raises
    ------
    CohortError
        No prediction is left to count, a label is not a class of the run, or two folders
        hold the same predictions.
    ArtifactError
        A table is missing or damaged, or the folders have different classes.
    """
    labels = _cohort_labels(inputs.cohort, settings.level) if inputs.cohort else None
    left_out: Counter[str] = Counter()
    counted = [_read_run(source, labels, settings, left_out) for source in inputs.predictions]
    classes = counted[0].classes
    for run in counted[1:]:
        if set(run.classes) != set(classes):
            raise ArtifactError(
                f"{run.name}: classes {', '.join(run.classes)}, but {counted[0].name} has {', '.join(classes)}",
                hint="evaluate runs with the same classes together",
            )
    every = [row for run in counted for row in run.rows]
    runs = tuple(_measure(run.name, run.rows, classes, settings) for run in counted)
    pooled = None
    if not _share_items(counted):
        pooled = runs[0] if len(runs) == 1 else _measure("pooled", every, classes, settings)
    return Evaluation(
        classes, settings.as_dict(), runs, pooled, _spread(runs), dict(left_out), _facts(every), tuple(every)
    )


@dataclass(frozen=True)
class _Run:
    """The predictions of one folder that are counted."""

    name: str
    classes: tuple[str, ...]
    rows: list[dict[str, Any]]


def _read_run(source: Path, labels: PatientLabels | None, settings: EvaluateSettings, left_out: Counter[str]) -> _Run:
    table, name = (PREDICTIONS, "predictions") if settings.level == "slide" else (PATIENT_PREDICTIONS, "patients")
    path = source / f"{name}.parquet" if source.is_dir() else source
    if settings.level == "patient":
        refuse_stale_patients(path)
    rows = table.read_rows(path)
    _refuse_other_run(path, table)
    classes = tuple(column.removeprefix("prob_") for column in (rows or [{}])[0] if column.startswith("prob_"))
    if rows and not classes:
        raise ArtifactError(
            f"{source}: no classes to evaluate, because it was made with --questions alone",
            hint="run `five predict` with --classes, too",
        )
    why: Counter[str] = Counter()
    counted = _counted(rows, labels, settings, why)
    if not counted:
        raise CohortError(
            f"{source}: no {settings.level} with a label in split {settings.split} to count: "
            + ("; ".join(f"{n} {reason}" for reason, n in why.items()) or "the table is empty"),
            hint="pass labels with --cohort, or choose another --split",
        )
    labels_found = dict.fromkeys(row["label"] for row in counted)
    refuse_near_equal([*classes, *labels_found], "classes of the run and labels", source, error=CohortError)
    _refuse_fitted(source, counted, settings)
    for row in counted:
        if row["label"] not in classes:
            raise CohortError(
                f"{source}: label {row['label']!r} of {row['item']!r} is not a class of the run ({', '.join(classes)})",
                hint="correct the label, or pass --cohort a table without it",
            )
    left_out.update(why)
    return _Run(str(source), classes, [{**row, "run": str(source)} for row in counted])


def _refuse_other_run(path: Path, table: TableArtifact) -> None:
    """Raise an `ArtifactError` if the folder of the predictions was made with another run, texts or settings."""
    if not (path.parent / CLAIM).is_file():
        return  # a table that was copied without its folder
    claim = read_claim(path.parent)
    made_with = table.provenance(path)
    if (claim["settings"], claim["input_fingerprint"]) != (made_with.settings, made_with.input_fingerprint):
        raise ArtifactError(
            f"{path}: made with another run, other class texts or other settings than {CLAIM} of its folder",
            hint="run the `five predict` command of this folder again",
        )


def _refuse_fitted(source: Path, rows: Sequence[Mapping[str, Any]], settings: EvaluateSettings) -> None:
    """Raise a `CohortError` if the run was fitted to the labels or descriptions of the validation slides."""
    fitted = [row["item"] for row in rows if row["learned_from"]]
    if settings.split != "train" and fitted:
        raise CohortError(
            f"{source}: the run was fitted to the labels or descriptions of {len(fitted)} of {len(rows)} "
            f"{settings.level}s in split {settings.split}, for example {fitted[0]!r}; their metrics would be too good",
            hint="use --split test; or train, and the run of --init too, with --model five-fusion, which fits nothing "
            "to validation patients",
        )


def _cohort_labels(cohort: Path, level: str) -> PatientLabels:
    """Return the labels of the slides or patients, as the level demands."""
    return patient_labels(
        (slide.slide_id if level == "slide" else slide.patient, slide.label) for slide in read_cohort(cohort)
    )


def _counted(
    rows: Sequence[dict[str, Any]],
    labels: PatientLabels | None,
    settings: EvaluateSettings,
    left_out: Counter[str],
) -> list[dict[str, Any]]:
    """Return the rows to count, with their label; count the reasons for leaving out others in ``left_out``."""
    trained = {row["patient_id"] for row in rows if row["split"] in TRAINED_ON and row["patient_id"]}
    counted = []
    for row in rows:
        item = row[f"{settings.level}_id"]
        label = cell_text(row["label"]) if labels is None else labels.label_of.get(item)
        differ = row.get("label_conflict") if labels is None else labels.conflicts.get(item)
        split = row["split"] or "test"
        if split != settings.split:
            left_out[f"in split {split}"] += 1
        elif row["split"] is None and row["patient_id"] in trained:
            left_out["the run was trained on another slide of the patient"] += 1
        elif differ:
            left_out["the slides of the patient have different labels"] += 1
        elif label is None:
            left_out["no label"] += 1
        else:
            counted.append({**row, "item": item, "label": label, "patient_id": row["patient_id"] or item})
    return counted


def _facts(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return facts to show: each patient has one slide, and patients whose slides have different labels."""
    if all(row["n_slides"] == 1 if "n_slides" in row else row["patient_id"] == row["item"] for row in rows):
        return {"patients": "one patient per slide"}
    return patient_labels((row["patient_id"], row["label"]) for row in rows).facts()


def _share_items(runs: Sequence[_Run]) -> bool:
    """Return whether two runs predict the same slide (or patient). Refuse a run that is given twice."""
    shared = False
    for later, run in enumerate(runs):
        scores = dict(zip((row["item"] for row in run.rows), _logits(run.rows, run.classes).tolist(), strict=True))
        for earlier in runs[:later]:
            its_rows = [row for row in earlier.rows if row["item"] in scores]
            same = [
                scores[row["item"]] == line
                for row, line in zip(its_rows, _logits(its_rows, run.classes).tolist(), strict=True)
            ]
            if same and all(same):
                raise CohortError(
                    f"{run.name} and {earlier.name} hold the same predictions, for example of {its_rows[0]['item']!r}",
                    hint="pass the predictions of each run once",
                )
            shared = shared or bool(same)
    return shared


def _measure(
    name: str, rows: Sequence[Mapping[str, Any]], classes: Sequence[str], settings: EvaluateSettings
) -> Measured:
    index = {c: k for k, c in enumerate(classes)}
    labels = np.array([index[row["label"]] for row in rows])
    predicted = np.array([index[row["predicted"]] for row in rows])
    patients = [row["patient_id"] for row in rows]
    metrics = measure(
        labels,
        predicted,
        one_vs_rest_scores(_logits(rows, classes)),
        patients,
        classes=classes,
        resamples=settings.resamples,
        seed=settings.seed,
    )
    table = confusion_table(labels, predicted, len(classes)).tolist()
    return Measured(name, len(rows), len(set(patients)), tuple(metrics), table)


def _logits(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return (N, C) logits, or log probabilities where the table has no logits."""
    logits = np.array([[row.get(f"logit_{c}") for c in classes] for row in rows], np.float64)
    if np.isnan(logits).any():
        probabilities = np.array([[row[f"prob_{c}"] for c in classes] for row in rows], np.float64)
        logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return logits


def _spread(runs: Sequence[Measured]) -> tuple[Spread, ...]:
    spread = []
    for k, name in enumerate(METRIC_NAMES):
        values = [value for run in runs if (value := run.metrics[k].value) is not None]
        if values:
            sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
            spread.append(Spread(name, float(np.mean(values)), sd, len(values)))
    return tuple(spread)
