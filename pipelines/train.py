"""Stage: features and descriptions (or labels) -> run/, a trained model and how it came about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.classes import load_classes, write_classes
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.files import file_fingerprint, fingerprint
from pipelines.core.folder import claim_folder, difference
from pipelines.core.provenance import Provenance
from pipelines.core.questions import QuestionSet, load_questions, write_questions
from pipelines.core.schemas import ANSWERS, METRICS, SPLITS
from pipelines.core.settings.train import ModelSettings, TrainSettings
from pipelines.findings.learning_curves import draw_learning_curves
from pipelines.model.accelerator import make_accelerator
from pipelines.model.bag_model import BagModel, ModelSpec
from pipelines.model.bags import BagFile, BagReader, feature_statistics
from pipelines.model.batches import Data
from pipelines.model.build import build_model
from pipelines.model.checkpoint import WEIGHTS, load_model, read_config, save_model
from pipelines.model.descriptions import patient_answers
from pipelines.model.feature_cohort import FeatureCohort, read_feature_cohort
from pipelines.model.loop import fit
from pipelines.model.probe import LinearProbe, fit_probe
from pipelines.model.progress import Progress
from pipelines.model.run_splits import run_splits
from pipelines.model.states import STATE
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
    splits = run_splits(cohort.slides, settings, given=inputs.splits, init=inputs.init)
    task = _task(splits, inputs, settings)
    provenance = Provenance.of(settings, _fingerprint(cohort, splits, task, inputs))
    accelerator = make_accelerator(settings, device)
    if accelerator.is_main_process:
        claim_folder(out, MADE_BY, provenance, overwrite=overwrite)
    accelerator.wait_for_everyone()
    if METRICS.is_current(out / "metrics.parquet", provenance) and (out / WEIGHTS).exists():
        return Summary(out, (Result("run", Outcome.KEPT),))
    torch.manual_seed(settings.seed)
    data = _data(cohort, splits, task)
    model = _model(cohort, task, data, inputs, settings).to(accelerator.device)
    if accelerator.is_main_process:
        SPLITS.write(out / "splits.parquet", splits, provenance)
    results: list[Result] = []

    def on_epoch(progress: Progress) -> None:
        results.append(Result(f"epoch {progress.epoch}", Outcome.DONE, total=settings.epochs))
        on_result(results[-1])

    run_id = fingerprint([provenance.settings_fingerprint, provenance.input_fingerprint])
    states = out / "checkpoints"
    if isinstance(model, LinearProbe):
        progress = fit_probe(model, task.objective, task.labels, data, settings)
    else:
        progress = fit(
            model, task.objective, data, settings, states, run_id=run_id, accelerator=accelerator, on_epoch=on_epoch
        )
    if accelerator.is_main_process:
        _write_run(out, model, task, progress, settings, provenance)
        (states / STATE).unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return Summary(out, tuple(results), _figures(cohort, splits, task, data, model, progress))


def _with_settings_of_init(settings: TrainSettings, init: Path | None) -> TrainSettings:
    settings = settings.with_rates(is_tuned=init is not None)
    if init is None:
        return settings
    earlier, _, _ = read_config(init)
    asked = {field.name: getattr(settings, field.name) for field in fields(ModelSettings)}
    asked = {name: value for name, value in asked.items() if value != getattr(ModelSettings, name)}
    changed = difference({name: earlier.of_model[name] for name in asked}, asked)
    if changed:
        raise SettingsError(
            f"{init}: its model was made with other settings: {changed}", hint="leave them out, or train without --init"
        )
    return replace(settings, **earlier.of_model)


def _task(splits: Sequence[Mapping[str, Any]], inputs: TrainInputs, settings: TrainSettings) -> Task:
    if settings.regime != "pretrain":
        is_five = settings.model == "five"
        if is_five and settings.regime == "finetune" and inputs.classes is None:
            raise SettingsError(
                "finetune: needs class texts", hint="give --classes, a YAML file of texts for each class"
            )
        if settings.regime == "linear-probe" and inputs.init is None:
            raise SettingsError("linear-probe: needs a trained model", hint="give --init, the run to probe")
        classes = load_classes(inputs.classes) if inputs.classes else None
        return class_task(splits, classes, _questions(inputs) if is_five else None, settings)
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

    train = of("train")
    classes = sorted(set(task.labels.values()))
    strata = [[row for row, bag in enumerate(train) if task.labels[bag.slide_id] == name] for name in classes]
    return Data(train, of("val"), BagReader(), strata=[members for members in strata if members])


def _model(cohort: FeatureCohort, task: Task, data: Data, inputs: TrainInputs, settings: TrainSettings) -> BagModel:
    """Return the model of ``init``, or a new one for these features and questions."""
    prompts = {question.id: question.prompt for question in task.questions.questions} if task.questions else {}
    knows_classes = settings.model != "five" or settings.regime == "linear-probe"
    classes = list(task.classes or ()) if knows_classes else []
    spec = ModelSpec(cohort.kind.dim, cohort.kind.encoder, cohort.kind.encoder_fingerprint, prompts, classes)
    if inputs.init is None:
        model = build_model(ModelSettings(**settings.of_model), spec)
        if settings.feature_scaling == "standard":
            model.scale_features(*feature_statistics(data.train, data.reader))
        return model
    model = load_model(inputs.init)
    if settings.regime == "linear-probe":
        probe = build_model(model.settings, replace(model.spec, classes=classes))
        probe.load_state_dict(model.state_dict(), strict=False)
        model = probe
    changed = difference(asdict(model.spec), asdict(spec))
    if changed:
        raise ArtifactError(
            f"{inputs.init}: trained on other features or questions: {changed}",
            hint="embed the slides with the encoder of that run, and use its questions",
        )
    return model


def _write_run(
    out: Path, model: BagModel, task: Task, progress: Progress, settings: TrainSettings, provenance: Provenance
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
    model: BagModel,
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
        "texts_cut_at_the_limit_of_the_text_model": model.count_truncated(task.texts),
    }
    return {
        "training_slides": len(data.train),
        "validation_slides": len(data.val),
        "test_slides": sum(row["split"] == "test" for row in splits),
        **{name: count for name, count in left_out.items() if count},
        "best_epoch": progress.best_epoch,
        **best,
    }
