"""Plan `five predict`: the slides, the model and the class texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.classes import load_classes
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.feature_file import content_fingerprint
from pipelines.core.files import fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.run_manifest import CLASSES, RunManifest
from pipelines.core.settings import PredictSettings
from pipelines.model.data.feature_cohort import FeatureCohort, read_feature_cohort
from pipelines.model.data.splits import KnownSlides
from pipelines.model.data.splits.known_slides import Matches
from pipelines.model.networks.checkpoint import read_config


@dataclass(frozen=True)
class PredictInputs:
    """Input files of a prediction."""

    features: Path
    """Output folder of `five embed`."""
    run: Path
    """Output folder of `five train`."""
    cohort: Path | None = None
    """Table of the slides to predict; its labels are copied to the output. None predicts all slides with features."""
    classes: Path | None = None
    """YAML file of class texts; None uses the texts of the run."""


@dataclass(frozen=True)
class PredictionJob:
    """The slides to predict, and with which model and class texts; nothing large is loaded."""

    inputs: PredictInputs
    settings: PredictSettings
    model: str
    """Name of the model, such as ``five`` or ``abmil``."""
    texts: Mapping[str, Sequence[str]]
    """Class -> texts."""
    matches: Matches
    """Which slides of the cohort the run knows, and how it used them."""
    cohort: FeatureCohort
    slides: Sequence[CohortSlide]
    """The slides to predict, in all shards."""
    provenance: Provenance
    manifest: RunManifest
    """Manifest of the run, with which its files are read."""

    @classmethod
    def of(cls, inputs: PredictInputs, settings: PredictSettings) -> PredictionJob:
        """Read the splits, the class texts and the shapes of the features.

        Raises
        ------
        FiveError
            An input is missing or does not fit the others, or the requested split has no slide.
        """
        run = inputs.run
        manifest = RunManifest.read(run)
        known = KnownSlides.of_run(run, manifest)
        texts = load_classes(inputs.classes or _classes_file(manifest))
        config = read_config(run, manifest)
        cohort = read_feature_cohort(inputs.features, inputs.cohort, trained_on=config.spec.feature_kind)
        matches = known.match(cohort.slides)
        split_of = {slide_id: use.split for slide_id, use in matches.uses.items()}
        slides = [slide for slide in cohort.slides if settings.split in ("all", split_of.get(slide.slide_id))]
        if not slides:
            raise ArtifactError(
                f"{inputs.features}: none of its slides is in the {settings.split} split of {run}",
                hint="use --split all",
            )
        provenance = Provenance.of(settings, fingerprint([list(texts.items()), manifest.digest]))
        return cls(inputs, settings, config.settings.model, texts, matches, cohort, slides, provenance, manifest)

    def identity(self, slide: CohortSlide) -> dict[str, Any]:
        """Return the columns of a row that identify ``slide``: its ids, label, and how the run used it."""
        use = self.matches.uses.get(slide.slide_id)
        return {
            "slide_id": slide.slide_id,
            "patient_id": slide.patient,
            "label": slide.label,
            "split": use.split if use else None,
            "learned_from": use is not None and use.learned_from,
        }

    def features_fingerprint(self, slide: CohortSlide) -> str:
        """Return the fingerprint of the features of ``slide``.

        Raises
        ------
        ArtifactError
            The feature file cannot be used.
        """
        if slide.slide_id in self.cohort.unusable:
            raise self.cohort.unusable[slide.slide_id]
        return content_fingerprint(self.cohort.bags[slide.slide_id].path)

    def n_tiles(self, slide: CohortSlide) -> int:
        """Return the number of tiles of ``slide``, 0 if its feature file cannot be used."""
        bag = self.cohort.bags.get(slide.slide_id)
        return bag.n_tiles if bag else 0

    def is_of_current_features(self, row: Mapping[str, Any], slide: CohortSlide) -> bool:
        """Return whether ``row`` was made from the current features of ``slide``."""
        try:
            return bool(row["features"] == self.features_fingerprint(slide))
        except ArtifactError:
            return False

    def facts(self) -> dict[str, str]:
        """Return the facts about the predictions that the HTML report shows."""
        config = read_config(self.inputs.run, self.manifest)
        facts = {"run": str(self.inputs.run), "model": self.model, "image encoder": config.spec.encoder}
        if not config.settings.is_baseline:
            facts["text model"] = config.settings.text_model
        if config.spec.classes:  # such a model reads no class texts
            return facts | {"classes": ", ".join(self.texts)}
        return facts | {f"texts of {name}": "; ".join(sentences) for name, sentences in self.texts.items()}

    def counts(self) -> dict[str, int]:
        """Return how many slides the run knows, and how many are not predicted, by reason; reasons of 0 are omitted."""
        other_splits = len(self.cohort.slides) - len(self.slides)
        counts = {**self.matches.counts, **self.cohort.left_out()}
        return counts | ({"slides_of_other_splits": other_splits} if other_splits else {})


def _classes_file(manifest: RunManifest) -> Path:
    path = manifest.optional(CLASSES)
    if path is None:
        raise SettingsError(
            f"{manifest.folder}: the run has no class texts, as it was not fine-tuned",
            hint="describe the classes in a YAML file and pass it with --classes",
        )
    return path
