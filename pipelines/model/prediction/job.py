"""What `five predict` is to do: which slides, with which model and texts, and which are done already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.classes import load_classes
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.files import file_fingerprint, fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PREDICTIONS, SPLITS
from pipelines.core.settings import PredictSettings
from pipelines.model.data.feature_cohort import FeatureCohort, read_feature_cohort
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import WEIGHTS, load_model, network_weight, read_config


@dataclass(frozen=True)
class PredictInputs:
    """The files that predictions are made from."""

    features: Path
    """Folder of `five embed`."""
    run: Path
    """Folder of `five train`."""
    cohort: Path | None = None
    """Table of the slides to predict, with labels to put beside; None takes all with features."""
    classes: Path | None = None
    """YAML of class texts; None takes those of the run."""


@dataclass(frozen=True)
class PredictionJob:
    """What is predicted, of what and with what; nothing large is loaded."""

    inputs: PredictInputs
    settings: PredictSettings
    model: str
    texts: Mapping[str, Sequence[str]]
    splits: Mapping[str, str]
    """Patient -> split in the run."""
    found: FeatureCohort
    slides: Sequence[CohortSlide]
    """The slides to predict, of all shards."""
    provenance: Provenance

    @classmethod
    def of(cls, inputs: PredictInputs, settings: PredictSettings) -> PredictionJob:
        """Read what is small: splits, texts, the shapes of the features.

        Raises
        ------
        FiveError
            An input is missing or does not fit, or no slide is in the split asked for.
        """
        run = inputs.run
        splits = {row["patient_id"]: row["split"] for row in SPLITS.read_rows(run / "splits.parquet")}
        texts = load_classes(_classes_file(run, inputs.classes))
        found = read_feature_cohort(inputs.features, inputs.cohort)
        slides = [slide for slide in found.slides if settings.split in ("all", splits.get(slide.patient))]
        if not slides:
            raise ArtifactError(
                f"{inputs.features}: none of its slides is in the {settings.split} part of {run}",
                hint="use --split all",
            )
        model, _, _ = read_config(run)
        provenance = Provenance.of(settings, fingerprint([texts, file_fingerprint(run / WEIGHTS)]))
        return cls(inputs, settings, model.model, texts, splits, found, slides, provenance)

    def kept_rows(self, table: Path) -> dict[str, dict[str, Any]]:
        """Return the rows of ``table`` that still hold, by slide, with labels and splits of now."""
        if not PREDICTIONS.is_current(table, self.provenance):
            return {}
        rows = {row["slide_id"]: row for row in PREDICTIONS.read_rows(table)}
        return {
            slide.slide_id: {**row, **self.identity(slide)}
            for slide in self.slides
            if (row := rows.get(slide.slide_id)) and row["features"] == self.features_fingerprint(slide)
        }

    def identity(self, slide: CohortSlide) -> dict[str, Any]:
        """Return what a row says of ``slide`` itself."""
        patient = slide.patient
        names = {"slide_id": slide.slide_id, "patient_id": patient, "label": slide.label}
        return {**names, "split": self.splits.get(patient)}

    def features_fingerprint(self, slide: CohortSlide) -> str:
        """Return digits of the feature file of ``slide``."""
        return file_fingerprint(self.found.bags[slide.slide_id].path)

    def facts(self) -> dict[str, str]:
        """Return what the HTML page says of how the predictions were made."""
        settings, spec, _ = read_config(self.inputs.run)
        text_model = {"text model": settings.text_model} if settings.model == "five" else {}
        known = {"classes": ", ".join(self.texts)}  # of a model with classes of its own, which reads no texts of them
        texts = {f"texts of {name}": "; ".join(sentences) for name, sentences in self.texts.items()}
        facts = {"run": str(self.inputs.run), "model": self.model, "image encoder": spec.encoder, **text_model}
        weight = network_weight(self.inputs.run)
        if weight is not None:
            facts["weight of the network"] = f"{weight:.2f}" + (
                "" if weight else ": its attention explains nothing here"
            )
        return facts | (known if spec.classes else texts)

    def load_model(self, device: str) -> BagModel:
        """Return the model of the run.

        Raises
        ------
        ArtifactError
            It was trained on other features.
        """
        run, kind = self.inputs.run, self.found.kind
        model = load_model(run, device)
        spec = model.spec
        if (spec.feature_dim, spec.encoder_fingerprint) != (kind.dim, kind.encoder_fingerprint):
            raise ArtifactError(
                f"features of {kind.encoder} ({kind.dim} channels, weights {kind.encoder_fingerprint}), but {run} was "
                f"trained on {spec.encoder} ({spec.feature_dim} channels, weights {spec.encoder_fingerprint})",
                hint=f"embed the slides with {spec.encoder}",
            )
        return model

    def left_out(self) -> dict[str, int]:
        """Return the counts of slides that are not predicted, by reason."""
        counts = {
            "slides_without_features": len(self.found.missing),
            "slides_without_tiles": len(self.found.empty),
            "slides_of_other_splits": len(self.found.slides) - len(self.slides),
        }
        return {name: count for name, count in counts.items() if count}


def _classes_file(run: Path, classes: Path | None) -> Path:
    path = classes or run / "classes.yaml"
    if not path.exists():
        raise SettingsError(
            f"{run}: the run has no class texts, as it was not fine-tuned",
            hint="describe the classes in a YAML file and give it with --classes",
        )
    return path
