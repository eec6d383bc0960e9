"""Stage: features and descriptions (or labels) -> run/, a trained model and how it came about."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.classes import write_classes
from pipelines.core.files import fingerprint
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import write_questions
from pipelines.core.resources import Resources
from pipelines.core.schemas import METRICS, SPLITS
from pipelines.core.selection import EVERYTHING, Selection
from pipelines.core.settings import TrainSettings
from pipelines.findings.learning_curves import draw_learning_curves
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import CONFIG, WEIGHTS, save_model
from pipelines.model.networks.joint import JointFive
from pipelines.model.training.accelerator import make_accelerator
from pipelines.model.training.fitters import fit_model, trained_in_steps
from pipelines.model.training.footprint import Footprint, footprint
from pipelines.model.training.optimizer import updates_per_epoch
from pipelines.model.training.progress import Progress
from pipelines.model.training.resume import STATE
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
    """Train a model and write the run to ``out``; a result per epoch goes to ``on_result``.

    A finished run with the same settings and inputs is kept; one that was interrupted goes on
    from its last state and ends with the weights of an undisturbed one. Started by ``torchrun``
    or ``accelerate launch``, the processes share the batches of an update and the first writes.

    Parameters
    ----------
    tensorboard
        Also write the figures of each epoch to ``out/tensorboard``; needs the extra ``tensorboard``.

    Raises
    ------
    FiveError
        An input is missing or does not fit, or the loss is not a number.
    """
    selection.require_only(MADE_BY, "overwrite")
    run = prepare_run(inputs, settings)
    provenance = Provenance.of(run.settings, run.fingerprint())
    accelerator = make_accelerator(run.settings, resources.device)
    writes = accelerator.is_main_process
    refuse_other_settings(
        out, MADE_BY, provenance, overwrite=selection.overwrite
    )  # in every process, so that none waits
    if METRICS.is_current(out / "metrics.parquet", provenance) and (out / WEIGHTS).exists():
        return Summary(out, (Result("run", Outcome.KEPT),))
    torch.manual_seed(settings.seed)
    model = run.make_model().to(accelerator.device)
    accelerator.wait_for_everyone()  # until all have seen what is there
    if writes:
        claim_folder(out, MADE_BY, provenance, overwrite=selection.overwrite)
        _remove_earlier_run(out)
        SPLITS.write(out / "splits.parquet", run.splits, provenance)
    events = EventWriter(out / "tensorboard") if tensorboard and writes else None
    results: list[Result] = []

    def on_epoch(progress: Progress) -> None:
        figures = progress.figures(progress.epoch)
        losses = [
            f"{part} loss {figures[f'{part}_loss']:.3f}" for part in ("train", "val") if f"{part}_loss" in figures
        ]
        note = ", ".join([*losses, f"best epoch {progress.best_epoch}"])
        results.append(Result(f"epoch {progress.epoch}", Outcome.DONE, note=note, total=settings.epochs))
        on_result(results[-1])
        if events:
            events.write(progress.epoch, figures)

    states = out / "checkpoints" / STATE
    run_id = fingerprint([provenance.settings_fingerprint, provenance.input_fingerprint])
    progress = fit_model(model, run, states, run_id=run_id, accelerator=accelerator, on_epoch=on_epoch)
    if writes:
        shutil.rmtree(states.parent, ignore_errors=True)
        _write_run(out, model, run, progress, provenance)
    accelerator.wait_for_everyone()
    return Summary(out, tuple(results), _figures(run, model, progress))


def plan(
    inputs: TrainInputs, out: Path, settings: TrainSettings, *, selection: Selection = EVERYTHING
) -> dict[str, Any]:
    """Return what `train` would do, without training: patients and slides by part, steps, model size, memory.

    Raises
    ------
    FiveError
        As `train` does before its first step.
    """
    run = prepare_run(inputs, settings)
    provenance = Provenance.of(run.settings, run.fingerprint())
    refuse_other_settings(out, MADE_BY, provenance, overwrite=selection.overwrite)
    torch.manual_seed(settings.seed)
    model = run.make_model()
    figures = {**_parts(run), **_left_out(run, model)}
    stepped = trained_in_steps(model)
    if stepped is None:
        return figures | {"frozen_parameters": sum(weight.numel() for weight in model.parameters())}
    size: Footprint = footprint(stepped, run.task.objective, run.data, run.settings)
    updates = updates_per_epoch(len(run.data.train), run.settings)
    return figures | {
        "trainable_parameters": size.trainable,
        "frozen_parameters": size.frozen,
        "updates_per_epoch": updates,
        "updates_at_most": updates * settings.epochs,
        "memory_of_weights_and_optimizer_mb": round(size.state_mb),
        "memory_of_the_largest_step_mb": round(size.step_mb),
        "features_kept_in_memory_mb": round(size.features_mb),
    }


def _remove_earlier_run(out: Path) -> None:
    """Remove a finished run of other settings, so that its model never stands beside the splits of this one.

    What an interrupted run of these settings left stays.
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
    METRICS.write(out / "metrics.parquet", progress.history, provenance)  # last: its presence says that all is there


def _figures(run: TrainingRun, model: BagModel, progress: Progress) -> dict[str, Any]:
    best = {name: round(value, 4) for name, value in progress.figures(progress.best_epoch).items()}
    best.pop("train_logit_scale", None)
    waited = {}
    if progress.seconds:
        waited["percent_of_the_time_spent_waiting_for_data"] = round(100 * progress.waited / progress.seconds, 2)
    return {
        "training_slides": len(run.data.train),
        "validation_slides": len(run.data.val),
        "test_slides": sum(row["split"] == "test" for row in run.splits),
        **_left_out(run, model),
        "best_epoch": progress.best_epoch,
        **best,
        **({"weight_of_the_network": round(float(model.heard), 2)} if isinstance(model, JointFive) else {}),
        **waited,
    }


def _left_out(run: TrainingRun, model: BagModel) -> dict[str, int]:
    """Return how many slides or texts are not used as they are, by reason; reasons without any are left out."""
    counts = {
        "slides_without_features": len(run.cohort.missing),
        "slides_without_tiles": len(run.cohort.empty),
        "slides_outside_the_splits": len(run.cohort.slides) - len(run.splits),
        **run.task.left_out,
        "texts_cut_at_the_limit_of_the_text_model": model.count_truncated(run.task.texts),
    }
    return {name: count for name, count in counts.items() if count}


def _parts(run: TrainingRun) -> dict[str, str]:
    """Return for each part its patients, of each class where there are classes, and its slides."""
    used = {bag.slide_id for part in (run.data.train, run.data.val) for bag in part}
    found = {}
    for part in ("train", "val", "test"):
        rows = [row for row in run.splits if row["split"] == part and (part == "test" or row["slide_id"] in used)]
        patients = {row["patient_id"]: row["label"] for row in rows}
        classes = Counter(label for label in patients.values() if label)
        by_class = ", ".join(f"{name} {count}" for name, count in sorted(classes.items()))
        found[part] = f"{len(patients)} patients{f' ({by_class})' if by_class else ''}, {len(rows)} slides"
    return found
