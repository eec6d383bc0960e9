"""Stage ``five predict``: class probabilities per slide, attention maps per prompt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.core.attention_file import AttentionMaps, write_attention
from pipelines.core.batch import OnResult, Outcome, Result, Summary, kept, run_batch
from pipelines.core.cohort import CohortSlide, patient_facts
from pipelines.core.devices import pick_device
from pipelines.core.errors import ArtifactError, SlideError
from pipelines.core.feature_file import SLIDE_NOTE, read_info, read_notes, slide_dimensions
from pipelines.core.files import file_digest
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.resources import Resources
from pipelines.core.selection import EVERYTHING, Selection
from pipelines.core.settings import PredictSettings
from pipelines.findings.heatmap import draw_heatmap
from pipelines.findings.report import write_report
from pipelines.findings.shown_maps import distinct_maps
from pipelines.model.data.bags import BagReader, TileBag
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import load_model
from pipelines.model.prediction.class_scores import class_probabilities
from pipelines.model.prediction.job import PredictInputs, PredictionJob
from pipelines.model.prediction.prediction_table import FILES, PredictionTable, attention_file, heatmap_file
from pipelines.slides import open_slide

__all__ = ["PredictInputs", "PredictSettings", "Resources", "plan", "predict"]

MADE_BY = "five predict"
THUMBNAIL_EDGE = 1600
"""Longer edge of the slide thumbnail under a heatmap, pixels."""


def predict(
    inputs: PredictInputs,
    out: Path,
    settings: PredictSettings,
    *,
    selection: Selection = EVERYTHING,
    resources: Resources = Resources(),
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Write the class probabilities of every slide to ``out``, and attention maps if the model has any.

    Slides that an earlier run predicted with the same model, texts, settings and features are
    kept if their attention files and heatmaps are unchanged; if all are, the model is not loaded. A slide
    whose features cannot be used fails alone. ``patients.parquet`` is written when every slide
    is predicted, by whichever shard finishes last.

    Parameters
    ----------
    selection
        Supports ``shard`` and ``overwrite``; the cohort is an input, since it also gives labels.

    Raises
    ------
    FiveError
        An input is missing or does not fit.
    """
    selection.require_only(MADE_BY, "shard", "overwrite")
    job = PredictionJob.of(inputs, settings)
    claim_folder(out, MADE_BY, job.provenance, overwrite=selection.overwrite)
    slides = selection.shard.of(job.slides)
    table = PredictionTable(out, job)
    valid = table.refresh(slides)
    todo = [slide for slide in slides if slide.slide_id not in valid]
    results = {name: kept(name, out, total=len(slides)) for name in valid}
    for result in results.values():
        on_result(result)
    if todo:

        def report(result: Result) -> None:
            if result.outcome is Outcome.DONE:
                table.add(result.row)
            on_result(replace(result, total=len(slides)))

        work = _SlidePrediction(load_model(inputs.run, pick_device(resources.device), job.manifest), job, out)
        results |= {result.item_id: result for result in run_batch(todo, work, folder=out, on_result=report)}
    title = f"Predictions of {inputs.run.name}"
    not_predicted = table.finish(lambda: write_report(out, facts=job.facts(), title=title))
    facts: dict[str, Any] = patient_facts(job.slides) | job.counts()
    if not_predicted:
        facts["slides_not_predicted"] = not_predicted
    return Summary(out, tuple(results[slide.slide_id] for slide in slides), facts)


def plan(
    inputs: PredictInputs, out: Path, settings: PredictSettings, *, selection: Selection = EVERYTHING
) -> dict[str, Any]:
    """Return what `predict` would do, without loading the model and without writing.

    Raises
    ------
    FiveError
        As `predict` does before it loads the model.
    """
    selection.require_only(MADE_BY, "shard", "overwrite")
    job = PredictionJob.of(inputs, settings)
    refuse_other_settings(out, MADE_BY, job.provenance, overwrite=selection.overwrite)
    slides = selection.shard.of(job.slides)
    valid = PredictionTable(out, job).valid(slides)
    todo = [slide for slide in slides if slide.slide_id not in valid]
    return {
        "slides": len(slides),
        "current": len(slides) - len(todo),
        "to_do": len(todo),
        "tiles_to_do": sum(min(job.n_tiles(slide), settings.max_tiles) for slide in todo),
        "model": job.model,
        "classes": ", ".join(job.texts),
        **patient_facts(job.slides),
        **job.counts(),
    }


class _SlidePrediction:
    """Predicts slides one by one. Prompts and class texts are encoded once."""

    def __init__(self, model: BagModel, job: PredictionJob, out: Path) -> None:
        self.model, self.job, self.out = model, job, out
        self.reader = BagReader(cache_bytes=0)
        self.names = list(job.texts)
        with torch.inference_mode():
            self.prompts = model.encode_prompts()
            self.classes = model.encode_classes(job.texts)

    def __call__(self, slide: CohortSlide, /) -> Result:
        features = self.job.features_fingerprint(slide)  # before they are read: a later change is then noticed
        bag = self.reader.evaluation(self.job.cohort.bags[slide.slide_id], self.job.settings.max_tiles)
        digests: dict[str, str | None] = dict.fromkeys(FILES)
        with torch.inference_mode():
            if self.job.settings.attention and self.model.prompt_names:
                vector, weights = self.model.attend(bag, self.prompts)
                logits = self._logits(vector)
                digests |= self._write_attention(slide, self._maps(bag, weights), int(logits.argmax()))
            else:
                logits = self._logits(self.model.encode_bags([bag], self.prompts))
        probabilities = class_probabilities(logits)
        row = {
            **self.job.identity(slide),
            "predicted": self.names[int(logits.argmax())],
            "n_tiles": len(bag.features),
            "features": features,
            **digests,
            **{f"prob_{name}": float(value) for name, value in zip(self.names, probabilities, strict=True)},
            **{f"logit_{name}": float(value) for name, value in zip(self.names, logits, strict=True)},
        }
        return Result(slide.slide_id, Outcome.DONE, row)

    def _logits(self, vector: Tensor) -> NDArray[np.float64]:
        logits: NDArray[np.float64] = self.model.logits(vector.double(), self.classes.double())[0].cpu().numpy()
        if not np.isfinite(logits).all():
            raise ArtifactError("the features hold NaN or infinite values", hint="embed the slide again")
        return logits

    def _maps(self, bag: TileBag, weights: Tensor) -> AttentionMaps:
        added = self.model.contributions(bag, self.classes)
        return AttentionMaps(
            weights=weights.float().cpu().numpy(),
            prompts=self.model.prompt_names,
            coords=bag.corners,
            tile_size_level0=bag.tile_size_level0,
            contributions=np.zeros((0, len(bag.corners))) if added is None else added.float().cpu().numpy(),
            classes=[] if added is None else self.names,
        )

    def _write_attention(self, slide: CohortSlide, maps: AttentionMaps, predicted: int) -> dict[str, str]:
        """Write the attention file and the heatmap, if it is wanted; return their digests by column."""
        written = {"attention": attention_file(self.out, slide.slide_id)}
        write_attention(written["attention"], maps, self.job.provenance)
        if self.job.settings.heatmaps:
            written["heatmap"] = heatmap_file(self.out, slide.slide_id)
            self._draw(maps, slide, written["heatmap"], predicted)
        return {column: file_digest(path) for column, path in written.items()}

    def _draw(self, maps: AttentionMaps, slide: CohortSlide, path: Path, predicted: int) -> None:
        """Draw what speaks for the predicted class, and the attention of each question, or of each other prompt.

        Where the contributions of the tiles are not known, the mean attention of the questions comes first.
        """
        features = self.job.cohort.bags[slide.slide_id].path
        n_shown = len(self.model.spec.questions) or len(maps.prompts)
        shown, names = distinct_maps(maps.weights[:n_shown], maps.prompts[:n_shown])
        if maps.classes:
            speaking = maps.contributions[predicted] - maps.contributions.mean(axis=0)
            shown, names = np.vstack([speaking[None], shown]), [f"speaks for {maps.classes[predicted]}", *names]
        elif n_shown > 1:
            shown, names = np.vstack([maps.weights[:n_shown].mean(axis=0)[None], shown]), ["mean of these", *names]
        draw_heatmap(
            maps.coords,
            shown,
            maps.tile_size_level0,
            slide_dimensions(features),
            path,
            title=slide.slide_id,
            names=names,
            thumbnail=_thumbnail(slide, features),
        )


def _thumbnail(slide: CohortSlide, features: Path) -> NDArray[np.uint8] | None:
    """Return a thumbnail of the slide; None if its file is unknown, missing, or no longer the same."""
    noted = read_notes(features).get(SLIDE_NOTE)
    path = slide.path or (Path(noted) if noted else None)
    if path is None or not path.exists():
        return None
    mpp, dimensions = read_info(features).mpp_x, slide_dimensions(features)
    try:
        with open_slide(path, cohort_mpp=mpp) as opened:
            if opened.dimensions != dimensions:
                return None
            return opened.thumbnail(mpp * max(dimensions) / THUMBNAIL_EDGE).rgb
    except SlideError:
        return None
