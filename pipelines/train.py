"""Stage: features and descriptions (or labels) -> run/, a trained model with its splits and metrics."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.cohort import patient_facts
from pipelines.core.labels import patient_labels
from pipelines.core.resources import Resources
from pipelines.core.selection import EVERYTHING, Selection
from pipelines.core.settings import TrainSettings, require
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.text_tower import load_text_tower
from pipelines.findings.learning_curves import draw_learning_curves
from pipelines.model.data.splits.ignored_settings import splits_source
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.tower_texts import TowerLoader
from pipelines.model.networks.zero_shot.text_vectors import TextTower, in_space, refuse_long_texts
from pipelines.model.training.accelerator import make_accelerator
from pipelines.model.training.fitters import fitter_of
from pipelines.model.training.footprint import Footprint, footprint
from pipelines.model.training.optimizer import updates_per_epoch
from pipelines.model.training.progress import Progress
from pipelines.model.training.run import TrainingRun, TrainInputs, prepare_run
from pipelines.model.training.run_folder import MADE_BY, Found, RunFolder, from_main_process
from pipelines.model.training.tensorboard import EventWriter

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

__all__ = ["Resources", "TrainInputs", "TrainSettings", "plan", "train"]


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

    A finished run with the same settings and inputs is kept; what is missing or damaged is made again, if need be by
    training. If an input changed, the run is trained again, and a warning says why. An interrupted run resumes from its
    last saved state and ends with the same weights as an uninterrupted one. Only one process at a time trains to
    ``out``. Under ``torchrun`` or ``accelerate launch``, the processes divide the batches of each update among them,
    and the first process writes the files.

    Parameters
    ----------
    tensorboard
        Also write the metrics of each epoch to ``out/tensorboard``; needs the extra ``tensorboard``.

    Raises
    ------
    FiveError
        An input is missing or does not fit the others, the loss is not finite, or another process trains to ``out``.
    """
    selection.require_only(MADE_BY, "overwrite")
    _refuse_own_folder(inputs, out)
    run = prepare_run(inputs, settings)
    folder = RunFolder(out, run, draw_curves=draw_learning_curves)
    accelerator = make_accelerator(run.settings, resources.device)
    with folder.held(accelerator):
        # in every process, so that all stop together
        folder.refuse_other_settings(overwrite=selection.overwrite)
        found = from_main_process(accelerator, folder.find)
        if found.is_finished:
            if accelerator.is_main_process:
                folder.complete(found.to_remake)
            return Summary(out, (Result("run", Outcome.KEPT),), _cohort_facts(run) | _remade(found))
        if found.why_again and accelerator.is_main_process:
            logger.warning("%s: the run is trained again: %s", out, found.why_again)
        return _train(folder, accelerator, overwrite=selection.overwrite, tensorboard=tensorboard, on_result=on_result)


def _train(
    folder: RunFolder, accelerator: Accelerator, *, overwrite: bool, tensorboard: bool, on_result: OnResult
) -> Summary:
    """Train the model and write the run, in a folder that this process has locked."""
    run, writes = folder.run, accelerator.is_main_process
    torch.manual_seed(run.settings.seed)
    model = run.make_model(_tower_of(run)).to(accelerator.device)
    accelerator.wait_for_everyone()  # before any process changes the folder
    if writes:
        folder.start(model, overwrite=overwrite)
    accelerator.wait_for_everyone()  # before any process reads the state of an interrupted run
    events = EventWriter(folder.path / "tensorboard") if tensorboard and writes else None
    results: list[Result] = []
    fitter = fitter_of(model)
    epochs = run.settings.epochs if fitter.trained_by_gradient(model) else None

    def on_epoch(progress: Progress) -> None:
        results.append(_epoch_result(progress, epochs))
        on_result(results[-1])
        if events:
            events.write(progress.epoch, progress.metrics(progress.epoch))

    progress = fitter.fit(model, run, folder.resume, accelerator, on_epoch)
    if writes:
        folder.finish(model, progress)
    accelerator.wait_for_everyone()
    return Summary(folder.path, tuple(results), _summary(run, model, progress))


def _tower_of(run: TrainingRun) -> TowerLoader:
    """Return what loads the text tower of the encoder of the features; it is not loaded yet."""
    cohort, weights = run.cohort, run.settings.text_weights

    def tower() -> TextTower:
        loaded = load_text_tower(find_preset(cohort.given_encoder), weights=weights)
        for source, texts in run.texts_of_files():
            refuse_long_texts(texts, loaded, source)
        return in_space(loaded, cohort.kind.space, cohort.kind.dim, run.inputs.features)

    return tower


def _refuse_own_folder(inputs: TrainInputs, out: Path) -> None:
    """Raise a `SettingsError` if the run would overwrite the run that it starts from."""
    require(
        inputs.init is None or inputs.init.resolve() != out.resolve(),
        f"{out}: this folder is given as --init and as the output",
        hint="choose another -o folder",
    )


def _remade(found: Found) -> dict[str, str]:
    return {"made_again": ", ".join(found.to_remake)} if found.to_remake else {}


def _epoch_result(progress: Progress, total: int | None) -> Result:
    """Return the result of the last epoch, with its losses to show beside the progress.

    Without gradient descent, the ``total`` number of epochs is None.
    """
    metrics = progress.metrics(progress.epoch)
    losses = [
        f"{split} loss {metrics[f'{split}_loss']:.3f}" for split in ("train", "val") if f"{split}_loss" in metrics
    ]
    note = ", ".join([*losses, f"best epoch {progress.best_epoch}"])
    return Result(f"epoch {progress.epoch}", Outcome.DONE, note=note, total=total or progress.epoch)


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
    _refuse_own_folder(inputs, out)
    run = prepare_run(inputs, settings)
    folder = RunFolder(out, run, draw_curves=draw_learning_curves)
    folder.refuse_other_settings(overwrite=selection.overwrite)
    torch.manual_seed(settings.seed)
    model = run.make_model(_tower_of(run))
    counts = {**_earlier_run(folder.find()), **_cohort_facts(run), **_split_sizes(run), **_left_out(run, model)}
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


def _earlier_run(found: Found) -> dict[str, str]:
    """Return what would happen to a finished run in the folder."""
    if found.is_finished:
        remade = f"; made again: {', '.join(found.to_remake)}" if found.to_remake else ""
        return {"finished_run_in_the_folder": f"kept{remade}"}
    return {"finished_run_in_the_folder": f"trained again: {found.why_again}"} if found.why_again else {}


def _summary(run: TrainingRun, model: BagModel, progress: Progress) -> dict[str, Any]:
    best = {name: round(value, 4) for name, value in progress.metrics(progress.best_epoch).items()}
    best.pop("train_logit_scale", None)
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
