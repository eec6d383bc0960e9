"""Stage: run/ and features -> predictions/, class probabilities and what each prompt looks at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.core.attention_file import Attention, write_attention
from pipelines.core.batch import OnResult, Outcome, Result, Summary, run_batch
from pipelines.core.classes import load_classes
from pipelines.core.cohort import CohortSlide
from pipelines.core.devices import pick_device
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.feature_file import slide_dimensions
from pipelines.core.files import file_fingerprint, fingerprint
from pipelines.core.folder import claim_folder
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS, SPLITS
from pipelines.core.settings import PredictSettings
from pipelines.findings.heatmap import draw_heatmap
from pipelines.findings.report import write_report
from pipelines.model.bag_model import BagModel
from pipelines.model.bags import BagFile, BagReader, TileBag
from pipelines.model.checkpoint import WEIGHTS, load_model
from pipelines.model.feature_cohort import FeatureCohort, read_feature_cohort

MADE_BY = "five predict"


def predict(
    features: Path,
    run: Path,
    out: Path,
    settings: PredictSettings,
    *,
    cohort: Path | None = None,
    classes: Path | None = None,
    device: str = "auto",
    overwrite: bool = False,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Write class probabilities of the slides in ``features`` to ``out``.

    Parameters
    ----------
    run
        Folder of `five train`.
    cohort
        Table of the slides to predict, with labels to put beside; None takes all with features.
    classes
        YAML of class texts; None takes those that the run was fine-tuned with.

    Raises
    ------
    FiveError
        An input is missing or does not fit.
    """
    splits = {row["patient_id"]: row["split"] for row in SPLITS.read_rows(run / "splits.parquet")}
    texts = load_classes(_classes_file(run, classes))
    found = read_feature_cohort(features, cohort)
    slides = [slide for slide in found.slides if settings.split in ("all", splits.get(slide.patient))]
    if not slides:
        raise ArtifactError(
            f"{features}: none of its slides is in the {settings.split} part of {run}", hint="use --split all"
        )
    inputs = [found.record(), sorted(s.slide_id for s in slides), texts, splits, file_fingerprint(run / WEIGHTS)]
    provenance = Provenance.of(settings, fingerprint(inputs))
    claim_folder(out, MADE_BY, provenance, overwrite=overwrite)
    if PATIENT_PREDICTIONS.is_current(out / "patients.parquet", provenance):
        kept = [Result(slide.slide_id, Outcome.KEPT) for slide in slides]
        return Summary(out, tuple(kept), _left_out(found, slides))
    model = _fitting_model(run, found, pick_device(device))
    work = _SlidePrediction(model, found.bags, texts, splits, settings, out, provenance)
    results = run_batch(slides, work, folder=out, on_result=on_result)
    rows = [result.row["prediction"] for result in results if result.outcome is Outcome.DONE]
    PREDICTIONS.write(out / "predictions.parquet", rows, provenance)
    if len(rows) == len(slides):
        PATIENT_PREDICTIONS.write(out / "patients.parquet", patient_rows(rows, list(texts)), provenance)
    write_report(out, facts=_facts(run, model, texts), title=f"Predictions of {run.name}")
    return Summary(out, tuple(results), _left_out(found, slides))


def class_probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax of (C,) logits, which sums to 1.

    Only differences of logits enter, in float64: scaled cosines are large, and in float32
    a gap of 0.06 between cosines at a scale of 300 would already give exactly 1.
    """
    shares = np.exp(logits - logits.max())
    probabilities: NDArray[np.float64] = shares / shares.sum()
    return probabilities


def patient_rows(rows: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row of PATIENT_PREDICTIONS a patient: the mean of the probabilities of the slides."""
    by_patient: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_patient[row["patient_id"]].append(row)
    found = []
    for patient, slides in by_patient.items():
        probabilities = {name: float(np.mean([slide[f"prob_{name}"] for slide in slides])) for name in classes}
        labels = {slide["label"] for slide in slides}
        found.append(
            {
                "patient_id": patient,
                "label": labels.pop() if len(labels) == 1 else None,
                "split": slides[0]["split"],
                "predicted": max(probabilities, key=probabilities.__getitem__),
                "n_slides": len(slides),
                **{f"prob_{name}": value for name, value in probabilities.items()},
            }
        )
    return found


class _SlidePrediction:
    """Predicts one slide; prompts and class texts are encoded once."""

    def __init__(
        self,
        model: BagModel,
        bags: Mapping[str, BagFile],
        texts: Mapping[str, Sequence[str]],
        splits: Mapping[str, str],
        settings: PredictSettings,
        out: Path,
        provenance: Provenance,
    ) -> None:
        self.model, self.bags, self.splits = model, bags, splits
        self.settings, self.out, self.provenance = settings, out, provenance
        self.reader = BagReader(cache_bytes=0)
        self.names = list(texts)
        with torch.inference_mode():
            self.prompts = model.encode_prompts()
            self.classes = model.encode_classes(texts)

    def __call__(self, slide: CohortSlide, /) -> Result:
        file = self.bags[slide.slide_id]
        bag = self.reader.evaluation(file, self.settings.max_tiles)
        with torch.inference_mode():
            logits = self._logits(self.model.encode_bags([bag], self.prompts))
            if self.settings.attention:
                self._write_attention(file, bag)
        probabilities = class_probabilities(logits)
        row = {
            "slide_id": slide.slide_id,
            "patient_id": slide.patient,
            "label": slide.label,
            "split": self.splits.get(slide.patient),
            "predicted": self.names[int(logits.argmax())],
            "n_tiles": len(bag.features),
            **{f"prob_{name}": float(value) for name, value in zip(self.names, probabilities, strict=True)},
            **{f"logit_{name}": float(value) for name, value in zip(self.names, logits, strict=True)},
        }
        return Result(slide.slide_id, Outcome.DONE, {"prediction": row})

    def _logits(self, vector: Tensor) -> NDArray[np.float64]:
        logits: NDArray[np.float64] = self.model.logits(vector.double(), self.classes.double())[0].cpu().numpy()
        if not np.isfinite(logits).all():
            raise ArtifactError("the features hold NaN or infinite values", hint="embed the slide again")
        return logits

    def _write_attention(self, file: BagFile, bag: TileBag) -> None:
        weights = self.model.attention(bag, self.prompts).float().cpu().numpy()
        attention = Attention(weights, self.model.prompt_names, bag.corners, bag.tile_size_level0)
        write_attention(self.out / "attention" / f"{bag.slide_id}.h5", attention, self.provenance)
        if self.settings.heatmaps:
            self._draw(attention, bag.slide_id, slide_dimensions(file.path))

    def _draw(self, attention: Attention, slide_id: str, dimensions: tuple[int, int]) -> None:
        """Draw the mean over the question prompts and each question; all prompts where there are no questions."""
        n_shown = len(self.model.spec.questions) or len(attention.prompts)
        shown = attention.weights[:n_shown]
        draw_heatmap(
            attention.coords,
            np.vstack([shown.mean(axis=0, keepdims=True), shown]),
            attention.tile_size_level0,
            dimensions,
            self.out / "heatmaps" / f"{slide_id}.jpg",
            title=slide_id,
            names=("mean of these", *attention.prompts[:n_shown]),
        )


def _classes_file(run: Path, classes: Path | None) -> Path:
    path = classes or run / "classes.yaml"
    if not path.exists():
        raise SettingsError(
            f"{run}: the run has no class texts, as it was not fine-tuned",
            hint="describe the classes in a YAML file and give it with --classes",
        )
    return path


def _fitting_model(run: Path, found: FeatureCohort, device: str) -> BagModel:
    model = load_model(run, device)
    spec, kind = model.spec, found.kind
    if (spec.feature_dim, spec.encoder_fingerprint) != (kind.dim, kind.encoder_fingerprint):
        raise ArtifactError(
            f"features of {kind.encoder} ({kind.dim} channels, weights {kind.encoder_fingerprint}), but {run} was "
            f"trained on {spec.encoder} ({spec.feature_dim} channels, weights {spec.encoder_fingerprint})",
            hint=f"embed the slides with {spec.encoder}",
        )
    return model


def _facts(run: Path, model: BagModel, texts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return what the HTML page says of how the predictions were made."""
    return {
        "run": str(run),
        "image encoder": model.spec.encoder,
        "text model": model.settings.text_model,
        **{f"texts of {name}": "; ".join(sentences) for name, sentences in texts.items()},
    }


def _left_out(found: FeatureCohort, slides: Sequence[CohortSlide]) -> dict[str, int]:
    counts = {
        "slides_without_features": len(found.missing),
        "slides_without_tiles": len(found.empty),
        "slides_of_other_splits": len(found.slides) - len(slides),
    }
    return {name: count for name, count in counts.items() if count}
