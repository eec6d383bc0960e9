"""What a run of `five train` is made from: slides, splits, supervision and the model to begin with."""

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
from pipelines.core.settings.model import BASELINES, ModelSettings
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import BagFile, BagReader, feature_statistics
from pipelines.model.data.batches import Data
from pipelines.model.data.descriptions import patient_answers
from pipelines.model.data.feature_cohort import FeatureCohort, read_feature_cohort
from pipelines.model.data.splits import run_splits
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.build import build_model
from pipelines.model.networks.checkpoint import WEIGHTS, load_model, read_config
from pipelines.model.networks.joint import JointFive
from pipelines.model.training.tasks import Task, class_task, description_task


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


@dataclass(frozen=True)
class TrainingRun:
    """A run before its first step."""

    inputs: TrainInputs
    settings: TrainSettings
    """Model settings of ``init``, learning rates filled in."""
    cohort: FeatureCohort
    splits: Sequence[Mapping[str, Any]]
    """Rows of SPLITS."""
    task: Task
    data: Data

    def fingerprint(self) -> str:
        """Return digits that differ when what the run is made from differs."""
        inputs, task = self.inputs, self.task
        return fingerprint(
            {
                "features": self.cohort.record(),
                "splits": list(self.splits),
                "classes": task.classes,
                "questions": task.questions.fingerprint if task.questions else None,
                "descriptions": file_fingerprint(inputs.descriptions / "answers.parquet")
                if inputs.descriptions
                else None,
                "init": file_fingerprint(inputs.init / WEIGHTS) if inputs.init else None,
            }
        )

    def make_model(self) -> BagModel:
        """Return the model of ``init``, or a new one for these features and questions.

        Raises
        ------
        ArtifactError
            The model of ``init`` was trained on other features or questions.
        """
        task, settings, inputs, kind = self.task, self.settings, self.inputs, self.cohort.kind
        prompts = {question.id: question.prompt for question in task.questions.questions} if task.questions else {}
        reads_classes = settings.regime == "pretrain" or (settings.model == "five" and settings.regime == "finetune")
        classes = [] if reads_classes else list(task.classes or ())
        labels = list(task.classes or ()) if reads_classes and settings.closed_form else []
        spec = ModelSpec(kind.dim, kind.encoder, kind.encoder_fingerprint, prompts, classes, labels)
        if inputs.init is None:
            model = build_model(ModelSettings(**settings.of_model), spec)
            if settings.feature_scaling == "standard":
                model.scale_features(*feature_statistics(self.data.train, self.data.reader))
            return model
        model = load_model(inputs.init)
        wanted = replace(model.spec, classes=model.spec.classes or classes, labels=labels)
        if wanted != model.spec:
            model = _with_spec(model, wanted)
        changed = difference(asdict(model.spec), asdict(spec))
        if changed:
            raise ArtifactError(
                f"{inputs.init}: trained on other features or questions: {changed}",
                hint="embed the slides with the encoder of that run, and use its questions",
            )
        return model


def _with_spec(model: BagModel, spec: ModelSpec) -> BagModel:
    """Return ``model`` with an untrained head for the classes of ``spec``: that of a probe, or of the closed form."""
    found = build_model(model.settings, spec)
    if isinstance(model, JointFive):
        learned = model.before_labels() if isinstance(found, JointFive) else model.network.state_dict()
    else:
        learned = model.state_dict()
    found.load_state_dict(learned, strict=False)
    return found


def prepare_run(inputs: TrainInputs, settings: TrainSettings) -> TrainingRun:
    """Read the inputs of a run; features are only looked at.

    Raises
    ------
    FiveError
        An input is missing or does not fit.
    """
    settings = _with_settings_of_init(settings, inputs.init)
    cohort = read_feature_cohort(inputs.features, inputs.cohort)
    splits = run_splits(cohort.slides, settings, given=inputs.splits, init=inputs.init)
    task = _task(splits, inputs, settings)
    return TrainingRun(inputs, settings, cohort, splits, task, _data(cohort, splits, task))


def _with_settings_of_init(settings: TrainSettings, init: Path | None) -> TrainSettings:
    settings = settings.with_text_rate(is_tuned=init is not None)
    if init is None:
        return settings
    earlier, _, _ = read_config(init)
    asked = {name: value for name, value in settings.of_model.items() if value != getattr(ModelSettings, name)}
    changed = difference({name: earlier.of_model[name] for name in asked}, asked)
    if changed:
        raise SettingsError(
            f"{init}: its model was made with other settings: {changed}", hint="leave them out, or train without --init"
        )
    return replace(settings, **earlier.of_model)


def _task(splits: Sequence[Mapping[str, Any]], inputs: TrainInputs, settings: TrainSettings) -> Task:
    if settings.regime != "pretrain":
        is_five = settings.model not in BASELINES
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
    if not (inputs.descriptions / "questions.yaml").exists():
        raise ArtifactError(
            f"{inputs.descriptions}: no questions.yaml and no answers here",
            hint="give --descriptions the folder that `five describe-reports` wrote",
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
    def of(split: str) -> list[BagFile]:
        names = [row["slide_id"] for row in splits if row["split"] == split]
        return [cohort.bags[name] for name in names if name in task.slides]

    train = of("train")
    classes = sorted(set(task.labels.values()))
    strata = [[row for row, bag in enumerate(train) if task.labels[bag.slide_id] == name] for name in classes]
    return Data(train, of("val"), BagReader(), strata=[members for members in strata if members])
