"""Plan a prediction with a trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines import __version__
from pipelines.core.classes import load_classes
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.files import fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.run_manifest import CLASSES, RunManifest
from pipelines.core.settings import PredictSettings, require
from pipelines.core.settings.model import ENCODER_TEXTS
from pipelines.model.data.feature_cohort import read_feature_cohort
from pipelines.model.data.splits import KnownSlides
from pipelines.model.networks.checkpoint import RunConfig, read_config
from pipelines.model.prediction.job import PredictInputs, PredictionJob


def run_job(inputs: PredictInputs, run: Path, settings: PredictSettings) -> PredictionJob:
    """Read the splits of ``run``, the class texts and the shapes of the features.

    Raises
    ------
    FiveError
        An input is missing or does not fit the others, or the requested split has no slide.
    """
    settings.require_run(given=True)
    if inputs.questions is not None:
        raise SettingsError(
            "questions: not used with --run, whose model has its own questions",
            hint="remove --questions, or remove --run",
        )
    manifest = RunManifest.read(run)
    known = KnownSlides.of_run(run, manifest)
    texts = load_classes(inputs.classes or _classes_file(manifest))
    config = read_config(run, manifest)
    require(
        settings.text_weights is None or config.settings.text_model == ENCODER_TEXTS,
        f"text_weights: not used, {run} does not read texts with the image encoder",
        hint="remove --text-weights",
    )
    cohort = read_feature_cohort(inputs.features, inputs.cohort, trained_on=config.spec.feature_kind)
    matches = known.match(cohort.slides)
    split_of = {slide_id: use.split for slide_id, use in matches.uses.items()}
    slides = [slide for slide in cohort.slides if settings.split in ("all", split_of.get(slide.slide_id))]
    if not slides:
        raise ArtifactError(
            f"{inputs.features}: none of its slides is in the {settings.split} split of {run}",
            hint="use --split all",
        )
    return PredictionJob(
        inputs=inputs,
        settings=settings,
        model=config.settings.model,
        texts=texts,
        matches=matches,
        cohort=cohort,
        slides=slides,
        provenance=Provenance(
            settings.recorded(with_run=True), fingerprint([list(texts.items()), manifest.digest]), __version__
        ),
        facts=_facts(run, config, texts),
        source=manifest,
    )


def _facts(run: Path, config: RunConfig, texts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    facts = {"run": str(run), "model": config.settings.model, "image encoder": config.spec.encoder}
    if not config.settings.is_baseline:
        facts["text model"] = config.settings.text_model
    if config.spec.classes:  # such a model reads no class texts
        return facts | {"classes": ", ".join(texts)}
    return facts | {f"texts of {name}": "; ".join(sentences) for name, sentences in texts.items()}


def _classes_file(manifest: RunManifest) -> Path:
    path = manifest.optional(CLASSES)
    if path is None:
        raise SettingsError(
            f"{manifest.folder}: the run has no class texts, as it was not fine-tuned",
            hint="describe the classes in a YAML file and pass it with --classes",
        )
    return path
