"""Stage: features and descriptions (or labels) -> run/, a trained model and how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.classes import load_classes, write_classes
from pipelines.core.devices import pick_device
from pipelines.core.errors import ArtifactError, CohortError, SettingsError
from pipelines.core.files import file_fingerprint, fingerprint
from pipelines.core.folder import claim_folder, difference
from pipelines.core.provenance import Provenance
from pipelines.core.questions import QuestionSet, load_questions, write_questions
from pipelines.core.schemas import ANSWERS, METRICS, SPLITS
from pipelines.core.settings.train import ModelSettings, TrainSettings
from pipelines.findings.learning_curves import draw_learning_curves
from pipelines.model.bags import BagFile, BagReader, feature_statistics
from pipelines.model.checkpoint import WEIGHTS, load_model, read_config, save_model
from pipelines.model.descriptions import patient_answers
from pipelines.model.feature_cohort import FeatureCohort, read_feature_cohort
from pipelines.model.five import FiveModel, ModelSpec
from pipelines.model.loop import Data, fit
from pipelines.model.split_files import read_splits
from pipelines.model.splits import make_splits
from pipelines.model.states import STATE, Progress
from pipelines.model.tasks import Task, class_task, description_task

MADE_BY = "five train"


@dataclass(frozen=True)
class TrainInputs:
    """The files that a run is made from."""

    features: Path
    """Folder of `five embed`."""
    cohort: Path | None = None
    """Cohort table: which slides, their patients, labels and splits. None takes all slides with features."""
    descriptions: Path | None = None
    """Folder of `five describe-reports`: supervises ``pretrain``, gives the questions to ``finetune``."""
    classes: Path | None = None
    """YAML of class texts, for ``finetune``."""
    init: Path | None = None
    """Run whose weights, model settings and splits are the start."""
    splits: Path | None = None
    """Splits to be used again: splits.parquet of another run, or a split file of CLAM or STAMP."""


def train(
    inputs: TrainInputs,
    out: Path,
    settings: TrainSettings,
    *,
    device: str = "auto",
    bf16: bool = False,
    overwrite: bool = False,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Train FiVE and write the run to ``out``; a result per epoch goes to ``on_result``.

    A finished run with the same settings and inputs is kept; one that was interrupted goes on
    from its last state and ends with the weights of an undisturbed one.

    Raises
    ------
    FiveError
        An input is missing or does not fit, or the loss is not a number.
    """
    settings = _with_settings_of_init(settings, inputs.init)
    cohort = read_feature_cohort(inputs.features, inputs.cohort)
    splits = _splits(cohort, inputs, settings)
    task = _task(splits, inputs, settings)
    provenance = Provenance.of(settings, _fingerprint(cohort, splits, task, inputs))
    claim_folder(out, MADE_BY, provenance, overwrite=overwrite)
    if METRICS.is_current(out / "metrics.parquet", provenance) and (out / WEIGHTS).exists():
        return Summary(out, (Result("run", Outcome.KEPT),))
    torch.manual_seed(settings.seed)
    data = _data(cohort, splits, task)
    model = _model(cohort, task, data, inputs, settings).to(pick_device(device))
    SPLITS.write(out / "splits.parquet", splits, provenance)
    results: list[Result] = []

    def on_epoch(progress: Progress) -> None:
        results.append(Result(f"epoch {progress.epoch}", Outcome.DONE, total=settings.epochs))
        on_result(results[-1])

    run_id = fingerprint([provenance.settings_fingerprint, provenance.input_fingerprint])
    states = out / "checkpoints"
    progress = fit(model, task.objective, data, settings, states, run_id=run_id, bf16=bf16, on_epoch=on_epoch)
    _write_run(out, model, task, progress, settings, provenance)
    (states / STATE).unlink(missing_ok=True)
    return Summary(out, tuple(results), _figures(cohort, splits, task, data, model, progress))


def _with_settings_of_init(settings: TrainSettings, init: Path | None) -> TrainSettings:
    if init is None:
        return settings
    earlier, _, _ = read_config(init)
    asked = {field.name: getattr(settings, field.name) for field in fields(ModelSettings)}
    asked = {name: value for name, value in asked.items() if value != getattr(ModelSettings, name)}
    changed = difference({name: earlier.model[name] for name in asked}, asked)
    if changed:
        raise SettingsError(
            f"{init}: its model was made with other settings: {changed}", hint="leave them out, or train without --init"
        )
    return replace(settings, **earlier.model)


def _splits(cohort: FeatureCohort, inputs: TrainInputs, settings: TrainSettings) -> list[dict[str, Any]]:
    """Return rows of SPLITS: read from a file, taken over from the run of ``init``, or made anew."""
    fold, val_fraction, seed = settings.fold, settings.val_fraction, settings.seed
    if inputs.splits is not None:
        rows = read_splits(inputs.splits, cohort.slides, fold=fold, val_fraction=val_fraction, seed=seed)
        if inputs.init is not None:
            _refuse_leak(rows, inputs.init)
        return rows
    if inputs.init is not None:
        return _splits_of_init(cohort, inputs.init / "splits.parquet")
    return make_splits(
        cohort.slides,
        folds=settings.folds,
        fold=fold,
        val_fraction=val_fraction,
        test_fraction=settings.test_fraction,
        seed=seed,
    )


def _splits_of_init(cohort: FeatureCohort, path: Path) -> list[dict[str, Any]]:
    """Return the slides of the patients in ``path``, each in the split of its patient there."""
    taken = {row["patient_id"]: row for row in SPLITS.read_rows(path)}
    rows = [
        {
            "slide_id": slide.slide_id,
            "patient_id": slide.patient,
            "label": slide.label,
            "fold": taken[slide.patient]["fold"],
            "split": taken[slide.patient]["split"],
        }
        for slide in cohort.slides
        if slide.patient in taken
    ]
    if not any(row["split"] == "train" for row in rows):
        raise CohortError(f"{path}: none of its training patients has features here")
    return rows


def _refuse_leak(rows: Sequence[Mapping[str, Any]], init: Path) -> None:
    seen = {row["patient_id"] for row in SPLITS.read_rows(init / "splits.parquet") if row["split"] != "test"}
    leaked = sorted({row["patient_id"] for row in rows if row["split"] == "test"} & seen)
    if leaked:
        raise CohortError(
            f"patient {leaked[0]!r} ({len(leaked)} such) is held out here, but {init} was trained with it",
            hint="leave --splits out: the splits of the first run are then used",
        )


def _task(splits: Sequence[Mapping[str, Any]], inputs: TrainInputs, settings: TrainSettings) -> Task:
    if settings.regime == "finetune":
        if inputs.classes is None:
            raise SettingsError(
                "finetune: needs class texts", hint="give --classes, a YAML file of texts for each class"
            )
        return class_task(splits, load_classes(inputs.classes), _questions(inputs), settings)
    if inputs.descriptions is None:
        raise SettingsError(
            "pretrain: needs descriptions of reports",
            hint="give --descriptions, the folder of `five describe-reports`, or use --regime finetune",
        )
    questions = load_questions(inputs.descriptions / "questions.yaml")
    patients = patient_answers(ANSWERS.read_rows(inputs.descriptions / "answers.parquet"), questions.ids)
    return description_task(splits, patients, questions, settings)


def _questions(inputs: TrainInputs) -> QuestionSet | None:
    for folder in (inputs.init, inputs.descriptions):
        if folder is not None and (folder / "questions.yaml").exists():
            return load_questions(folder / "questions.yaml")
    return None


def _fingerprint(cohort: FeatureCohort, splits: Sequence[Mapping[str, Any]], task: Task, inputs: TrainInputs) -> str:
    return fingerprint(
        {
            "features": cohort.record(),
            "splits": list(splits),
            "classes": task.classes,
            "questions": task.questions.fingerprint if task.questions else None,
            "descriptions": file_fingerprint(inputs.descriptions / "answers.parquet") if inputs.descriptions else None,
            "init": file_fingerprint(inputs.init / WEIGHTS) if inputs.init else None,
        }
    )


def _data(cohort: FeatureCohort, splits: Sequence[Mapping[str, Any]], task: Task) -> Data:
    def of(split: str) -> list[BagFile]:
        names = [row["slide_id"] for row in splits if row["split"] == split]
        return [cohort.bags[name] for name in names if name in task.slides]

    return Data(train=of("train"), val=of("val"), reader=BagReader())


def _model(cohort: FeatureCohort, task: Task, data: Data, inputs: TrainInputs, settings: TrainSettings) -> FiveModel:
    """Return the model of ``init``, or a new one for these features and questions."""
    prompts = {question.id: question.prompt for question in task.questions.questions} if task.questions else {}
    spec = ModelSpec(cohort.kind.dim, cohort.kind.encoder, cohort.kind.encoder_fingerprint, prompts)
    if inputs.init is None:
        model = FiveModel(ModelSettings(**settings.model), spec)
        if settings.feature_scaling == "standard":
            model.scale_features(*feature_statistics(data.train, data.reader))
        return model
    model = load_model(inputs.init)
    changed = difference(asdict(model.spec), asdict(spec))
    if changed:
        raise ArtifactError(
            f"{inputs.init}: trained on other features or questions: {changed}",
            hint="embed the slides with the encoder of that run, and use its questions",
        )
    return model


def _write_run(
    out: Path, model: FiveModel, task: Task, progress: Progress, settings: TrainSettings, provenance: Provenance
) -> None:
    if task.questions is not None:
        write_questions(task.questions, out / "questions.yaml")
    if task.classes is not None:
        write_classes(task.classes, out / "classes.yaml")
    save_model(model, out, settings=settings.as_dict())
    draw_learning_curves(progress.history, out / "learning_curves.png", best_epoch=progress.best_epoch)
    METRICS.write(out / "metrics.parquet", progress.history, provenance)  # last: its presence says that all is there


def _figures(
    cohort: FeatureCohort,
    splits: Sequence[Mapping[str, Any]],
    task: Task,
    data: Data,
    model: FiveModel,
    progress: Progress,
) -> dict[str, Any]:
    best = {
        f"{row['split']}_{row['name']}": round(row["value"], 4)
        for row in progress.history
        if row["epoch"] == progress.best_epoch and row["name"] != "logit_scale"
    }
    left_out = {
        "slides_without_features": len(cohort.missing),
        "slides_without_tiles": len(cohort.empty),
        "slides_outside_the_splits": len(cohort.slides) - len(splits),
        **task.left_out,
        "texts_cut_at_the_limit_of_the_text_model": model.text.count_truncated(task.texts),
    }
    return {
        "training_slides": len(data.train),
        "validation_slides": len(data.val),
        "test_slides": sum(row["split"] == "test" for row in splits),
        **{name: count for name, count in left_out.items() if count},
        "best_epoch": progress.best_epoch,
        **best,
    }
