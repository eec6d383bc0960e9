"""The output folder of `five train`: only one process writes it, and a finished run is kept, completed or replaced."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipelines.core.classes import write_classes
from pipelines.core.errors import ArtifactError, FiveError
from pipelines.core.files import file_digest, fingerprint
from pipelines.core.folder import CLAIM, claim_folder, difference, refuse_difference, refuse_other_settings
from pipelines.core.locks import GLANCE_SECONDS, LEASE_SECONDS, item_lock
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import write_questions
from pipelines.core.run_manifest import (
    CLASSES,
    CURVES,
    MANIFEST,
    METRICS_FILE,
    QUESTIONS,
    REMAKEABLE,
    SPLITS_FILE,
    TRAINED,
    RunManifest,
    run_id,
)
from pipelines.core.schemas import METRICS, SPLITS
from pipelines.model.data.splits import recorded_rows
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import read_config, save_model
from pipelines.model.training.fitters import Fitter, fitter_for, fitter_of
from pipelines.model.training.progress import Progress
from pipelines.model.training.resume import STATE, ResumeFile
from pipelines.model.training.run import TrainingRun, changed_inputs

if TYPE_CHECKING:
    from accelerate import Accelerator

MADE_BY = "five train"


class DrawCurves(Protocol):
    """`draw_learning_curves`, which the stage passes in."""

    def __call__(self, rows: Sequence[Mapping[str, Any]], path: Path, *, best_epoch: int) -> None:
        """Draw ``rows`` of the METRICS table to ``path``."""


T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """What a folder contains of the wanted run."""

    is_finished: bool
    """Whether the run was trained already with these settings and inputs."""
    to_remake: tuple[str, ...] = ()
    """Files of a finished run that are missing or damaged."""
    why_again: str = ""
    """Why a run that finished earlier must be trained again; empty if there is none."""


class RunFolder:
    """The output folder of a run.

    Parameters
    ----------
    run
        The run that the folder is to contain.
    draw_curves
        Draws rows of the METRICS table to a file, and marks the best epoch.
    """

    def __init__(self, path: Path, run: TrainingRun, *, draw_curves: DrawCurves) -> None:
        self.path, self.run, self.draw_curves = path, run, draw_curves
        recorded = replace(run.settings, text_weights=None)  # the space of the features identifies the weights
        self.settings, self.inputs = recorded.as_dict(), run.record()
        self.provenance = Provenance.of(recorded, fingerprint(self.inputs))
        self.resume = ResumeFile(path / "checkpoints" / STATE, run_id(self.settings, self.inputs))

    @contextmanager
    def held(self, accelerator: Accelerator) -> Iterator[None]:
        """Hold the lock of the folder during the block, in the main process; all processes learn of a refusal.

        Raises
        ------
        ArtifactError
            Another `five train` writes to the folder, or the folder contains the output of another command.
        """
        refuse_other_settings(self.path, MADE_BY, self.provenance, overwrite=True)  # creates nothing in such a folder
        if not accelerator.is_main_process:
            _require_acquired(self.path, from_main_process(accelerator, lambda: False))
            yield
            return
        lock = self.path / ".locks" / "train.lock"
        with item_lock(lock, wait=_patience(lock)) as acquired:
            _require_acquired(self.path, from_main_process(accelerator, lambda: acquired))
            yield

    def refuse_other_settings(self, *, overwrite: bool) -> None:
        """Check that the folder was made with these settings, by ``five.json`` or, if that is missing, the manifest.

        Raises
        ------
        ChangedSettingsError
            The folder was made with other settings and ``overwrite`` is False.
        """
        refuse_other_settings(self.path, MADE_BY, self.provenance, overwrite=overwrite)
        if overwrite or (self.path / CLAIM).exists():
            return
        try:
            earlier = RunManifest.read(self.path)
        except ArtifactError:
            return
        refuse_difference(self.path, earlier.settings, self.settings)

    def find(self) -> Found:
        """Return what the folder contains of this run."""
        if not any((self.path / name).exists() for name in (MANIFEST, *TRAINED)):
            return Found(is_finished=False)
        try:
            manifest = RunManifest.read(self.path)
            if manifest.run_id == self.resume.run_id:
                for name in TRAINED:
                    manifest.verified(name)
                read_config(self.path, manifest)  # also its version
        except FiveError as error:
            return Found(is_finished=False, why_again=str(error))
        changed = difference(manifest.settings, self.settings) or changed_inputs(manifest.inputs, self.inputs)
        if changed or not METRICS.is_current(self.path / METRICS_FILE, self.provenance):
            return Found(is_finished=False, why_again=changed or f"{METRICS_FILE} is of another version")
        listed = [name for name in REMAKEABLE if name in manifest.files]
        wrong = {name for name in listed if manifest.problem(name)}
        if SPLITS_FILE not in wrong and not SPLITS.is_current(self.path / SPLITS_FILE, self.provenance):
            wrong.add(SPLITS_FILE)
        return Found(is_finished=True, to_remake=tuple(name for name in listed if name in wrong))

    def complete(self, to_remake: tuple[str, ...]) -> None:
        """Make files of the finished run again, and remove what an earlier process left."""
        manifest = RunManifest.read(self.path)
        if not (self.path / CLAIM).exists():
            claim_folder(self.path, MADE_BY, self.provenance)
        shutil.rmtree(self.resume.path.parent, ignore_errors=True)
        if not to_remake:
            return
        config = read_config(self.path, manifest)
        if SPLITS_FILE in to_remake:
            self._write_splits(fitter_for(config.settings, config.spec))
        self._write_texts()
        if CURVES in to_remake:
            rows = METRICS.read_rows(manifest.verified(METRICS_FILE))
            self.draw_curves(rows, self.path / CURVES, best_epoch=manifest.best_epoch)
        self._write_manifest(manifest.best_epoch)

    def start(self, model: BagModel, *, overwrite: bool) -> None:
        """Claim the folder and remove another run, so that its files are never mixed with those of this run.

        The state of an interrupted run with the same settings and inputs stays.
        """
        (self.path / MANIFEST).unlink(missing_ok=True)  # first: from now on nothing in the folder is a run
        claim_folder(self.path, MADE_BY, self.provenance, overwrite=overwrite)
        for name in (*TRAINED, *REMAKEABLE):
            (self.path / name).unlink(missing_ok=True)
        if not self.resume.discard_unusable():
            shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        self._write_splits(fitter_of(model))

    def finish(self, model: BagModel, progress: Progress) -> None:
        """Write the trained model, and last the manifest, which marks a complete run."""
        self._write_splits(fitter_of(model))
        self._write_texts()
        save_model(model, self.path, settings=self.settings)
        METRICS.write(self.path / METRICS_FILE, progress.history, self.provenance)
        self.draw_curves(progress.history, self.path / CURVES, best_epoch=progress.best_epoch)
        self._write_manifest(progress.best_epoch)
        shutil.rmtree(self.resume.path.parent, ignore_errors=True)

    def _write_splits(self, fitter: Fitter[Any]) -> None:
        learned = {bag.slide_id for bag in fitter.learns_from(self.run.data)}
        rows = recorded_rows(self.run.splits, learned, self.run.known)
        SPLITS.write(self.path / SPLITS_FILE, rows, self.provenance)

    def _write_texts(self) -> None:
        if self.run.task.questions is not None:
            write_questions(self.run.task.questions, self.path / QUESTIONS)
        if self.run.task.classes is not None:
            write_classes(self.run.task.classes, self.path / CLASSES)

    def _write_manifest(self, best_epoch: int) -> None:
        task = self.run.task
        optional = {QUESTIONS: task.questions is not None, CLASSES: task.classes is not None}
        files = {name: file_digest(self.path / name) for name in (*TRAINED, *REMAKEABLE) if optional.get(name, True)}
        RunManifest(self.path, self.settings, self.inputs, best_epoch, files).write()


def from_main_process(accelerator: Accelerator, function: Callable[[], T]) -> T:
    """Return what ``function`` returns in the main process, in all processes."""
    if accelerator.num_processes == 1:
        return function()
    from accelerate.utils import broadcast_object_list

    answer: list[Any] = [function() if accelerator.is_main_process else None]
    broadcast_object_list(answer)
    result: T = answer[0]
    return result


def _require_acquired(path: Path, acquired: bool) -> None:  # noqa: FBT001
    if not acquired:
        raise ArtifactError(
            f"{path}: another `five train` is writing to this folder",
            hint="wait until it has ended, or choose another -o folder",
        )


def _patience(lock: Path) -> float:
    """Return how long to wait for a lock: whether a holder on another host is alive shows only after a while."""
    try:
        is_ours = socket.gethostname() in lock.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return GLANCE_SECONDS
    return GLANCE_SECONDS if is_ours else LEASE_SECONDS + 10
