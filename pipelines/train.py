"""Stage: features and descriptions (or labels) -> run/, a trained model with its splits and metrics."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.classes import write_classes
from pipelines.core.cohort import patient_facts
from pipelines.core.files import fingerprint
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.labels import patient_labels
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import write_questions
from pipelines.core.resources import Resources
from pipelines.core.schemas import METRICS, SPLITS
from pipelines.core.selection import EVERYTHING, Selection
from pipelines.core.settings import TrainSettings
from pipelines.findings.learning_curves import draw_learning_curves
from pipelines.model.data.splits import recorded_rows
from pipelines.model.data.splits.ignored_settings import splits_source
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import CONFIG, WEIGHTS, save_model
from pipelines.model.training.accelerator import make_accelerator
from pipelines.model.training.fitters import fitter_of
from pipelines.model.training.footprint import Footprint, footprint
from pipelines.model.training.optimizer import updates_per_epoch
from pipelines.model.training.progress import Progress
from pipelines.model.training.resume import STATE, ResumeFile
from pipelines.model.training.run import TrainingRun, TrainInputs, prepare_run
from pipelines.model.training.tensorboard import EventWriter

__all__ = ["Resources", "TrainInputs", "TrainSettings", "plan", "train"]

MADE_BY = "five train"


def train(
    inputs: TrainInputs,
    out: Path,
    settings: TrainSettings,
    *,
    selection: Selection = EVERYTHING,
    resources: Resources = Resources(),
    tensorboard: bool = False,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Train a model and write the run to ``out``; ``on_result`` gets one result per epoch.

    A finished run with the same settings and inputs is kept. An interrupted run resumes from its last saved state and
    ends with the same weights as an uninterrupted one. Under ``torchrun`` or ``accelerate launch``, the processes
    divide the batches of each update among them, and the first process writes the files.

    Parameters
    ----------
    tensorboard
        Also write the metrics of each epoch to ``out/tensorboard``; needs the extra ``tensorboard``.

    Raises
    ------
    FiveError
        An input is missing or does not fit the others, or the loss is not finite.
    """
    selection.require_only(MADE_BY, "overwrite")
    run = prepare_run(inputs, settings)
    provenance = Provenance.of(run.settings, run.fingerprint())
    accelerator = make_accelerator(run.settings, resources.device)
    writes = accelerator.is_main_process
    # in every process, so that all stop together
    refuse_other_settings(out, MADE_BY, provenance, overwrite=selection.overwrite)
    if METRICS.is_current(out / "metrics.parquet", provenance) and (out / WEIGHTS).exists():
        return Summary(out, (Result("run", Outcome.KEPT),), _cohort_facts(run))
    torch.manual_seed(settings.seed)
    model = run.make_model().to(accelerator.device)
    accelerator.wait_for_everyone()  # before any process changes the folder
    if writes:
        claim_folder(out, MADE_BY, provenance, overwrite=selection.overwrite)
        _remove_earlier_run(out)
        learned = {bag.slide_id for bag in fitter_of(model).learns_from(run.data)}
        SPLITS.write(out / "splits.parquet", recorded_rows(run.splits, learned, run.known), provenance)
    events = EventWriter(out / "tensorboard") if tensorboard and writes else None
    results: list[Result] = []

    def on_epoch(progress: Progress) -> None:
        results.append(_epoch_result(progress, settings.epochs))
        on_result(results[-1])
        if events:
            events.write(progress.epoch, progress.metrics(progress.epoch))

    run_id = fingerprint([provenance.settings_fingerprint, provenance.input_fingerprint])
    resume = ResumeFile(out / "checkpoints" / STATE, run_id)
    progress = fitter_of(model).fit(model, run, resume, accelerator, on_epoch)
    if writes:
        shutil.rmtree(resume.path.parent, ignore_errors=True)
        _write_run(out, model, run, progress, provenance)
    accelerator.wait_for_everyone()
    return Summary(out, tuple(results), _summary(run, model, progress))


def _epoch_result(progress: Progress, total: int) -> Result:
    """Return the result of the last epoch, with its losses to show beside the progress."""
    metrics = progress.metrics(progress.epoch)
    losses = [
        f"{split} loss {metrics[f'{split}_loss']:.3f}" for split in ("train", "val") if f"{split}_loss" in metrics
    ]
    note = ", ".join([*losses, f"best epoch {progress.best_epoch}"])
    return Result(f"epoch {progress.epoch}", Outcome.DONE, note=note, total=total)


def plan(
    inputs: TrainInputs, out: Path, settings: TrainSettings, *, selection: Selection = EVERYTHING
) -> dict[str, Any]:
    """Return what `train` would do, without training: patients and slides by split, updates, parameters and memory.

    Raises
    ------
    FiveError
        As `train` does before its first step.
    """
    selection.require_only(MADE_BY, "overwrite")
    run = prepare_run(inputs, settings)
    provenance = Provenance.of(run.settings, run.fingerprint())
    refuse_other_settings(out, MADE_BY, provenance, overwrite=selection.overwrite)
    torch.manual_seed(settings.seed)
    model = run.make_model()
    counts = {**_cohort_facts(run), **_split_sizes(run), **_left_out(run, model)}
    trained = fitter_of(model).trained_by_gradient(model)
    if trained is None:
        return counts | {"frozen_parameters": sum(weight.numel() for weight in model.parameters())}
    size: Footprint = footprint(trained, run.task.objective, run.data, run.settings)
    updates = updates_per_epoch(len(run.data.train), run.settings)
    return counts | {
        "trainable_parameters": size.trainable,
        "frozen_parameters": size.frozen,
        "updates_per_epoch": updates,
        "updates_at_most": updates * settings.epochs,
        "memory_of_weights_and_optimizer_mb": round(size.state_mb),
        "memory_of_the_largest_step_mb": round(size.step_mb),
        "features_kept_in_memory_mb": round(size.features_mb),
    }


def _remove_earlier_run(out: Path) -> None:
    """Remove a finished run with other settings, so that its model is never mixed with the splits of this run.

    The files of an interrupted run with these settings stay.
    """
    names = (WEIGHTS, CONFIG, "metrics.parquet", "questions.yaml", "classes.yaml", "learning_curves.png")
    earlier = [out / name for name in names if (out / name).exists()]
    for path in earlier:
        path.unlink()
    if earlier:
        shutil.rmtree(out / "tensorboard", ignore_errors=True)


def _write_run(out: Path, model: BagModel, run: TrainingRun, progress: Progress, provenance: Provenance) -> None:
    if run.task.questions is not None:
        write_questions(run.task.questions, out / "questions.yaml")
    if run.task.classes is not None:
        write_classes(run.task.classes, out / "classes.yaml")
    save_model(model, out, settings=run.settings.as_dict())
    draw_learning_curves(progress.history, out / "learning_curves.png", best_epoch=progress.best_epoch)
    METRICS.write(out / "metrics.parquet", progress.history, provenance)  # last: this file marks a complete run


def _summary(run: TrainingRun, model: BagModel, progress: Progress) -> dict[str, Any]:
    best = {name: round(value, 4) for name, value in progress.metrics(progress.best_epoch).items()}
    best.pop("train_logit_scale", None)
    weight = {} if model.network_weight is None else {"network_weight": round(model.network_weight, 2)}
    waited = {}
    if progress.seconds:
        waited["percent_of_the_time_spent_waiting_for_data"] = round(100 * progress.waited / progress.seconds, 2)
    return {
        "training_slides": len(run.data.train),
        "validation_slides": len(run.data.val),
        "test_slides": sum(row["split"] == "test" for row in run.splits),
        **_cohort_facts(run),
        **_left_out(run, model),
        "best_epoch": progress.best_epoch,
        **best,
        **weight,
        **waited,
    }


def _cohort_facts(run: TrainingRun) -> dict[str, str]:
    """Return where the splits come from, and what is unusual about patients and their labels."""
    slides, inputs = run.cohort.slides, run.inputs
    source = splits_source(slides, run.settings, given=inputs.splits, init=inputs.init)
    return {"splits": source, **patient_facts(slides)}


def _left_out(run: TrainingRun, model: BagModel) -> dict[str, int]:
    """Return the number of slides or texts that are left out or cut, by reason; counts of 0 are omitted."""
    counts = {
        **run.cohort.left_out(),
        "slides_outside_the_splits": len(run.cohort.slides) - len(run.splits),
        **run.task.left_out,
        "texts_cut_at_the_limit_of_the_text_model": model.count_truncated(run.task.texts),
    }
    return {name: count for name, count in counts.items() if count}


def _split_sizes(run: TrainingRun) -> dict[str, str]:
    """Return the number of patients (per class, if there are classes) and slides of each split."""
    used = {bag.slide_id for bags in (run.data.train, run.data.val) for bag in bags}
    sizes = {}
    for split in ("train", "val", "test"):
        rows = [row for row in run.splits if row["split"] == split and (split == "test" or row["slide_id"] in used)]
        labels = patient_labels((row["patient_id"], row["label"]) for row in rows)
        by_class = [f"{name} {count}" for name, count in sorted(Counter(labels.label_of.values()).items())]
        if labels.conflicts:
            by_class.append(f"different labels {len(labels.conflicts)}")
        classes = f" ({', '.join(by_class)})" if by_class else ""
        n_patients = len({row["patient_id"] for row in rows})
        sizes[split] = f"{n_patients} patients{classes}, {len(rows)} slides"
    return sizes
