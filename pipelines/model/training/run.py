"""Prepare a run of `five train`: slides, splits, supervision and the initial model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.classes import load_classes
from pipelines.core.descriptions_folder import QUESTIONS_FILE, read_descriptions, read_questions
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.files import file_fingerprint, fingerprint
from pipelines.core.folder import difference
from pipelines.core.question_files import load_questions
from pipelines.core.questions import QuestionSet
from pipelines.core.run_manifest import QUESTIONS, RunManifest
from pipelines.core.settings import require
from pipelines.core.settings.model import ENCODER_TEXTS, ModelSettings
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import BagFile, BagReader, feature_statistics
from pipelines.model.data.batches import Data
from pipelines.model.data.descriptions import patient_answers
from pipelines.model.data.feature_cohort import FeatureCohort, read_feature_cohort
from pipelines.model.data.splits import KnownSlides, recorded_rows, run_splits
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.build import build_model
from pipelines.model.networks.checkpoint import load_model, read_config
from pipelines.model.networks.tower_texts import TowerLoader
from pipelines.model.training.tasks import ABOUT_CLASSES, Task, class_task, description_task


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

    def record(self) -> dict[str, Any]:
        """Return the values of all inputs that the model depends on, or their fingerprints, by name."""
        task, init = self.task, self.inputs.init
        used = [bag.slide_id for bag in (*self.data.train, *self.data.val)]
        return {
            "features": self.cohort.record(used),
            "splits": fingerprint(list(self.splits)),
            "earlier_runs": fingerprint(list(self.known.rows)) if self.known else None,
            "classes": fingerprint(list(task.classes.items())) if task.classes else None,
            "questions": task.questions.fingerprint if task.questions else None,
            "descriptions": fingerprint(task.answers) if task.answers else None,
            "init": RunManifest.read(init).digest if init else None,
            "text_model": _text_model_fingerprint(self.settings),
        }

    def make_model(self, tower: TowerLoader | None = None) -> BagModel:
        """Return the model of ``init``, or an untrained one for these features and questions.

        Parameters
        ----------
        tower
            Loads the text tower of the encoder; only called if the model uses it.

        Raises
        ------
        ArtifactError
            The model of ``init`` was trained on other features or questions.
        """
        settings, init, spec = self.settings, self.inputs.init, self._spec()
        if init is None:
            model = build_model(ModelSettings(**settings.of_model), spec, tower)
            if settings.feature_scaling == "standard":
                unit_length = settings.text_model == ENCODER_TEXTS
                statistics = feature_statistics(self.data.train, self.data.reader, unit_length=unit_length)
                model.scale_features(*statistics)
            return model
        model = load_model(init, tower=tower)
        wanted = replace(model.spec, classes=model.spec.classes or spec.classes, labels=spec.labels)
        if wanted != model.spec:  # other classes or labels
            earlier, model = model, build_model(model.settings, wanted, tower)
            model.start_from(earlier)
        changed = difference(asdict(model.spec), asdict(spec))
        if changed:
            raise ArtifactError(
                f"{init}: trained on other features or questions: {changed}",
                hint="embed the slides with the encoder of that run, and use the questions of that run",
            )
        return model

    def texts_of_files(self) -> list[tuple[Path, dict[str, Sequence[str]]]]:
        """Return the files with texts that users write, and the texts in each by name."""
        files: list[tuple[Path, dict[str, Sequence[str]]]] = []
        if self.inputs.classes and self.task.classes:
            files.append((self.inputs.classes, dict(self.task.classes)))
        if self.inputs.descriptions and self.task.questions and self.task.answers:
            asked = self.task.questions.questions
            texts: dict[str, Sequence[str]]
            texts = {f"{each.id}={name}": value.texts for each in asked for name, value in each.values.items()}
            files.append((self.inputs.descriptions / QUESTIONS_FILE, texts))
        return files

    def _spec(self) -> ModelSpec:
        task, settings, kind = self.task, self.settings, self.cohort.kind
        prompts = {question.id: question.prompt for question in task.questions.questions} if task.questions else {}
        reads_classes = not settings.is_baseline and settings.regime != "linear-probe"
        classes = [] if reads_classes else list(task.classes or ())
        labels = list(task.classes or ()) if settings.model == "five" else []
        return ModelSpec(
            *(kind.dim, kind.encoder, kind.encoder_fingerprint, kind.tile_size, kind.target_mpp, prompts, classes),
            *(labels, kind.space),
        )


def changed_inputs(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return which inputs differ between two records of a run, in words, or an empty string."""
    before, after = earlier["features"], now["features"]
    slides = sorted(slide for slide in {**before, **after} if before.get(slide) != after.get(slide))
    changed = [f"{words} changed" for name, words in _INPUTS.items() if earlier.get(name) != now.get(name)]
    if len(slides) == 1:
        changed.insert(0, f"the features of slide {slides[0]!r} changed")
    elif slides:
        changed.insert(0, f"the features of {len(slides)} slides changed, for example of {slides[0]!r}")
    return ", ".join(changed)


_INPUTS = {
    "splits": "the splits, patients or labels",
    "earlier_runs": "the splits of the run of --init",
    "classes": "the class texts",
    "questions": "the questions",
    "descriptions": "the descriptions",
    "init": "the run of --init",
    "text_model": "the files of the text model",
}
"""Input of a run besides the features -> its name in messages."""


def prepare_run(inputs: TrainInputs, settings: TrainSettings) -> TrainingRun:
    """Read and check the inputs of a run. Feature files are opened only for their shapes.

    Raises
    ------
    FiveError
        An input is missing or does not fit the others.
    """
    settings = _with_settings_of_init(settings, inputs.init)
    _refuse_unsuitable(settings, inputs.init)
    cohort = read_feature_cohort(inputs.features, inputs.cohort)
    if settings.text_model == ENCODER_TEXTS and not cohort.kind.space:
        raise SettingsError(
            f"{inputs.features}: features of {cohort.kind.encoder}, which share no space with texts",
            hint="embed with an encoder that has a text tower (docs/encoders.md), or omit --text-model",
        )
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


def _refuse_unsuitable(settings: TrainSettings, init: Path | None) -> None:
    """Raise a `SettingsError` if the model cannot be trained as the settings demand."""
    if init is not None and settings.regime == "linear-probe" and not settings.is_fusion:
        raise SettingsError(
            f"{init}: model {settings.model} cannot be probed, only five-fusion can",
            hint="train that run with --model five-fusion, or use --regime finetune",
        )
    if settings.model == "five" and settings.balance == "sampling":
        raise SettingsError(
            "balance: five is not trained in steps, so sampling has no effect on it", hint="use --balance weights"
        )


def _task(splits: Sequence[Mapping[str, Any]], inputs: TrainInputs, settings: TrainSettings) -> Task:
    if settings.regime != "pretrain":
        if not settings.is_baseline and settings.regime == "finetune" and inputs.classes is None:
            raise SettingsError(
                "finetune: needs class texts", hint="give --classes, a YAML file with the texts of each class"
            )
        if settings.regime == "linear-probe" and inputs.init is None:
            raise SettingsError("linear-probe: needs a trained model", hint="give --init, the run to probe")
        classes = load_classes(inputs.classes) if inputs.classes else None
        return class_task(splits, classes, None if settings.is_baseline else _questions(inputs, settings), settings)
    if inputs.descriptions is None:
        raise SettingsError(
            "pretrain: needs descriptions of reports",
            hint="give --descriptions, the output folder of `five describe-reports`, or use --regime finetune",
        )
    questions, answers = read_descriptions(inputs.descriptions)
    return description_task(splits, patient_answers(answers, questions.ids), questions, settings)


def _questions(inputs: TrainInputs, settings: TrainSettings) -> QuestionSet | None:
    if settings.text_model == ENCODER_TEXTS and inputs.init is None:
        require(
            inputs.descriptions is None,
            f"descriptions: finetune does not learn from {inputs.descriptions} with --text-model {ENCODER_TEXTS}",
            hint="train on the descriptions first (--regime pretrain) and pass that run with --init, or omit them",
        )
        return ABOUT_CLASSES
    path = RunManifest.read(inputs.init).optional(QUESTIONS) if inputs.init else None
    if path is None and inputs.descriptions is not None:
        return read_questions(inputs.descriptions)
    return load_questions(path) if path else None


def _text_model_fingerprint(settings: TrainSettings) -> str | None:
    """Return a fingerprint of the files of a text model that the user gives as a folder; others are known by name."""
    folder = Path(settings.text_model)
    if settings.is_baseline or not folder.is_dir():
        return None
    return fingerprint({path.name: file_fingerprint(path) for path in folder.iterdir() if path.is_file()})


def _data(cohort: FeatureCohort, splits: Sequence[Mapping[str, Any]], task: Task) -> Data:
    def bags_of(split: str) -> list[BagFile]:
        slide_ids = [row["slide_id"] for row in splits if row["split"] == split]
        return [cohort.bags[slide_id] for slide_id in slide_ids if slide_id in task.slides]

    train = bags_of("train")
    classes = sorted(set(task.labels.values()))
    strata = [[row for row, bag in enumerate(train) if task.labels[bag.slide_id] == name] for name in classes]
    return Data(train, bags_of("val"), BagReader(), strata=[members for members in strata if members])
