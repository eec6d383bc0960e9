"""Plan `five predict`: the slides, the model and the texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import content_fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.run_manifest import RunManifest
from pipelines.core.settings import PredictSettings
from pipelines.model.data.feature_cohort import FeatureCohort
from pipelines.model.data.splits.known_slides import Matches


@dataclass(frozen=True)
class PredictInputs:
    """Input files of a prediction."""

    features: Path
    """Output folder of `five embed`."""
    run: Path | None = None
    """Output folder of `five train`; None compares the tiles with texts, without a trained model."""
    cohort: Path | None = None
    """Table of the slides to predict; its labels are copied to the output. None predicts all slides with features."""
    classes: Path | None = None
    """YAML file of class texts; None uses the texts of the run."""
    questions: str | Path | None = None
    """Question set whose answers are compared with the tiles: a shipped name or a YAML file. Only without a run."""


@dataclass(frozen=True)
class JointTexts:
    """What tiles are compared with in a joint space, besides the classes."""

    encoder: str
    """Name of the encoder whose space it is, as `five embed` was given it."""
    space: str
    """Name of the space."""
    other: Sequence[str]
    """Texts of other tissue; may be empty."""
    answers: Mapping[str, Mapping[str, Sequence[str]]]
    """Question id -> answer -> texts."""


@dataclass(frozen=True)
class PredictionJob:
    """The slides to predict, and with which model and texts; nothing large is loaded."""

    inputs: PredictInputs
    settings: PredictSettings
    model: str
    """Name of the model, such as ``five`` or ``abmil``."""
    texts: Mapping[str, Sequence[str]]
    """Class -> texts; empty if only questions are asked."""
    matches: Matches
    """Which slides of the cohort the run knows, and how it used them."""
    cohort: FeatureCohort
    slides: Sequence[CohortSlide]
    """The slides to predict, in all shards."""
    provenance: Provenance
    facts: Mapping[str, str]
    """Facts about the predictions that the HTML report shows."""
    source: RunManifest | JointTexts
    """The run, by the manifest with which its files are read, or what tiles are compared with instead."""

    @property
    def title(self) -> str:
        """Title of the HTML report."""
        return f"Predictions of {self.inputs.run.name}" if self.inputs.run else "Predictions without training"

    @property
    def texts_source(self) -> str:
        """The file of the class texts, or the run that has them, for messages."""
        return str(self.inputs.classes or self.inputs.run)

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

    def counts(self) -> dict[str, int]:
        """Return how many slides the run knows, and how many are not predicted, by reason; reasons of 0 are omitted."""
        other_splits = len(self.cohort.slides) - len(self.slides)
        counts = {**self.matches.counts, **self.cohort.left_out()}
        return counts | ({"slides_of_other_splits": other_splits} if other_splits else {})
