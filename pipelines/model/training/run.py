"""Prepare a run of `five train`: slides, splits, supervision and the initial model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.classes import load_classes
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.files import file_fingerprint, fingerprint
from pipelines.core.folder import difference
from pipelines.core.question_files import load_questions
from pipelines.core.questions import QuestionSet
from pipelines.core.schemas import ANSWERS
from pipelines.core.settings.model import ModelSettings
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import BagFile, BagReader, feature_statistics
from pipelines.model.data.batches import Data
from pipelines.model.data.descriptions import patient_answers
from pipelines.model.data.feature_cohort import FeatureCohort, read_feature_cohort
from pipelines.model.data.splits import KnownSlides, recorded_rows, run_splits
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.build import build_model
from pipelines.model.networks.checkpoint import WEIGHTS, load_model, read_config
from pipelines.model.training.tasks import Task, class_task, description_task


@dataclass(frozen=True)
class TrainInputs:
    """Input files of a run."""

    features: Path
    """Output folder of `five embed`."""
    cohort: Path | None = None
    """Cohort table: slides with their patients, labels and splits. None uses all slides that have features."""
    descriptions: Path | None = None
    """Output folder of `five describe-reports`: supervises ``pretrain``; ``finetune`` takes its questions."""
    classes: Path | None = None
    """YAML file of class texts, for ``finetune``."""
    init: Path | None = None
    """Run that provides the initial weights, the model settings and the splits."""
    splits: Path | None = None
    """Splits to reuse: splits.parquet of another run, or a split file of CLAM or STAMP."""


@dataclass(frozen=True)
class TrainingRun:
    """A run that is ready to train."""

    inputs: TrainInputs
    settings: TrainSettings
    """Settings with the model settings of ``init`` and all learning rates filled in."""
    cohort: FeatureCohort
    splits: Sequence[Mapping[str, Any]]
    """Rows of the SPLITS table for the slides of the cohort."""
    task: Task
    data: Data
    known: KnownSlides | None = None
    """Slides of the run of ``init`` and of the runs it started from."""

    def fingerprint(self) -> str:
        """Return a fingerprint of the inputs."""
        inputs, task = self.inputs, self.task
        return fingerprint(
            {
                "features": self.cohort.record(),
                "splits": list(self.splits),
                "known": list(self.known.rows) if self.known else None,
                "classes": task.classes,
                "questions": task.questions.fingerprint if task.questions else None,
                "descriptions": file_fingerprint(inputs.descriptions / "answers.parquet")
                if inputs.descriptions
                else None,
                "init": file_fingerprint(inputs.init / WEIGHTS) if inputs.init else None,
            }
        )

    def make_model(self) -> BagModel:
        """Return the model of ``init``, or an untrained one for these features and questions.

        Raises
        ------
        ArtifactError
            The model of ``init`` was trained on other features or questions.
        """
        settings, init, spec = self.settings, self.inputs.init, self._spec()
        if init is None:
            model = build_model(ModelSettings(**settings.of_model), spec)
            if settings.feature_scaling == "standard":
                model.scale_features(*feature_statistics(self.data.train, self.data.reader))
            return model
        model = load_model(init)
        wanted = replace(model.spec, classes=model.spec.classes or spec.classes, labels=spec.labels)
        if wanted != model.spec:  # other classes or labels
            earlier, model = model, build_model(model.settings, wanted)
            model.start_from(earlier)
        changed = difference(asdict(model.spec), asdict(spec))
        if changed:
            raise ArtifactError(
                f"{init}: trained on other features or questions: {changed}",
                hint="embed the slides with the encoder of that run, and use the questions of that run",
            )
        return model

    def _spec(self) -> ModelSpec:
        task, settings, kind = self.task, self.settings, self.cohort.kind
        prompts = {question.id: question.prompt for question in task.questions.questions} if task.questions else {}
        reads_classes = settings.regime == "pretrain" or (settings.has_network and settings.regime == "finetune")
        classes = [] if reads_classes else list(task.classes or ())
        labels = list(task.classes or ()) if reads_classes and settings.closed_form else []
        return ModelSpec(
            kind.dim, kind.encoder, kind.encoder_fingerprint, kind.tile_size, kind.target_mpp, prompts, classes, labels
        )


def prepare_run(inputs: TrainInputs, settings: TrainSettings) -> TrainingRun:
    """Read and check the inputs of a run. Feature files are opened only for their shapes.

    Raises
    ------
    FiveError
        An input is missing or does not fit the others.
    """
    settings = _with_settings_of_init(settings, inputs.init)
    cohort = read_feature_cohort(inputs.features, inputs.cohort)
    splits = run_splits(cohort.slides, settings, given=inputs.splits, init=inputs.init)
    task = _task(splits, inputs, settings)
    known = KnownSlides.of_run(inputs.init) if inputs.init else None
    recorded_rows(splits, (), known)  # a contradiction is noticed before anything is written
    return TrainingRun(inputs, settings, cohort, splits, task, _data(cohort, splits, task), known)


def _with_settings_of_init(settings: TrainSettings, init: Path | None) -> TrainSettings:
    settings = settings.with_text_rate(is_tuned=init is not None)
    if init is None:
        return settings
    earlier = read_config(init).settings
    asked = {name: value for name, value in settings.of_model.items() if value != getattr(ModelSettings, name)}
    changed = difference({name: earlier.of_model[name] for name in asked}, asked)
    if changed:
        raise SettingsError(
            f"{init}: its model has other settings: {changed}", hint="omit these settings, or train without --init"
        )
    return replace(settings, **earlier.of_model)


def _task(splits: Sequence[Mapping[str, Any]], inputs: TrainInputs, settings: TrainSettings) -> Task:
    if settings.regime != "pretrain":
        if not settings.is_baseline and settings.regime == "finetune" and inputs.classes is None:
            raise SettingsError(
                "finetune: needs class texts", hint="give --classes, a YAML file with the texts of each class"
            )
        if settings.regime == "linear-probe" and inputs.init is None:
            raise SettingsError("linear-probe: needs a trained model", hint="give --init, the run to probe")
        classes = load_classes(inputs.classes) if inputs.classes else None
        return class_task(splits, classes, None if settings.is_baseline else _questions(inputs), settings)
    if inputs.descriptions is None:
        raise SettingsError(
            "pretrain: needs descriptions of reports",
            hint="give --descriptions, the output folder of `five describe-reports`, or use --regime finetune",
        )
    if not (inputs.descriptions / "questions.yaml").exists():
        raise ArtifactError(
            f"{inputs.descriptions}: no questions.yaml in this folder",
            hint="--descriptions must be the output folder of `five describe-reports`",
        )
    questions = load_questions(inputs.descriptions / "questions.yaml")
    patients = patient_answers(ANSWERS.read_rows(inputs.descriptions / "answers.parquet"), questions.ids)
    return description_task(splits, patients, questions, settings)


def _questions(inputs: TrainInputs) -> QuestionSet | None:
    for folder in (inputs.init, inputs.descriptions):
        if folder is not None and (folder / "questions.yaml").exists():
            return load_questions(folder / "questions.yaml")
    return None


def _data(cohort: FeatureCohort, splits: Sequence[Mapping[str, Any]], task: Task) -> Data:
    def bags_of(split: str) -> list[BagFile]:
        slide_ids = [row["slide_id"] for row in splits if row["split"] == split]
        return [cohort.bags[slide_id] for slide_id in slide_ids if slide_id in task.slides]

    train = bags_of("train")
    classes = sorted(set(task.labels.values()))
    strata = [[row for row, bag in enumerate(train) if task.labels[bag.slide_id] == name] for name in classes]
    return Data(train, bags_of("val"), BagReader(), strata=[members for members in strata if members])
