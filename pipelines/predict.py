"""Stage ``five predict``: class probabilities and answers per slide, maps of what each tile says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.attention_file import AttentionMaps, write_attention
from pipelines.core.batch import OnResult, Outcome, Result, Summary, kept, remove_traceback, run_batch
from pipelines.core.cohort import CohortSlide, patient_facts
from pipelines.core.devices import pick_device
from pipelines.core.errors import SlideError
from pipelines.core.feature_file import SLIDE_NOTE, read_info, read_notes, slide_dimensions
from pipelines.core.files import file_digest
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.resources import Resources
from pipelines.core.run_manifest import RunManifest
from pipelines.core.schemas import SIMILARITY
from pipelines.core.selection import EVERYTHING, Selection
from pipelines.core.settings import PredictSettings
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.encoders.text_tower import load_text_tower
from pipelines.findings.heatmap import draw_heatmap
from pipelines.findings.report import write_report
from pipelines.findings.shown_maps import maps_to_show
from pipelines.model.data.bags import BagReader
from pipelines.model.networks.checkpoint import load_model
from pipelines.model.networks.zero_shot.text_vectors import TextTower, in_space, refuse_long_texts
from pipelines.model.prediction.class_scores import class_probabilities
from pipelines.model.prediction.job import PredictInputs, PredictionJob
from pipelines.model.prediction.joint_job import joint_job
from pipelines.model.prediction.joint_scores import JointSlideModel
from pipelines.model.prediction.prediction_table import FILES, PredictionTable, attention_file, heatmap_file
from pipelines.model.prediction.run_job import run_job
from pipelines.model.prediction.slide_scores import SlideModel, TrainedSlideModel
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
    """Write the class probabilities of every slide to ``out``, and maps of the tiles if the model has any.

    Without a run, the tiles are compared with the texts of classes, or with the answers to questions, in the space
    that the encoder of the features shares with texts.

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
    job = _job(inputs, settings)
    claim_folder(out, MADE_BY, job.provenance, overwrite=selection.overwrite)
    for slide_id in job.cohort.empty:  # their feature files may have been damaged before
        remove_traceback(slide_id, out)
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

        work = _SlidePrediction(_load_model(job, pick_device(resources.device)), job, out)
        results |= {result.item_id: result for result in run_batch(todo, work, folder=out, on_result=report)}
    not_predicted = table.finish(lambda: write_report(out, facts=job.facts, title=job.title))
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
    job = _job(inputs, settings)
    refuse_other_settings(out, MADE_BY, job.provenance, overwrite=selection.overwrite)
    slides = selection.shard.of(job.slides)
    valid = PredictionTable(out, job).valid(slides)
    todo = [slide for slide in slides if slide.slide_id not in valid]
    questions = [] if isinstance(job.source, RunManifest) else list(job.source.answers)
    return {
        "slides": len(slides),
        "current": len(slides) - len(todo),
        "to_do": len(todo),
        "tiles_to_do": sum(min(job.n_tiles(slide), settings.max_tiles) for slide in todo),
        "model": job.model,
        **({"classes": ", ".join(job.texts)} if job.texts else {}),
        **({"questions": ", ".join(questions)} if questions else {}),
        **patient_facts(job.slides),
        **job.counts(),
    }


def _job(inputs: PredictInputs, settings: PredictSettings) -> PredictionJob:
    """Return what is to be predicted, with a trained model or without one."""
    if inputs.run is not None:
        return run_job(inputs, inputs.run, settings)
    return joint_job(inputs, settings, [name for name, preset in ENCODER_PRESETS.items() if preset.text])


def _load_model(job: PredictionJob, device: str) -> SlideModel:
    """Load the trained model, or the text tower of the encoder of the features."""

    def tower() -> TextTower:
        preset = find_preset(job.cohort.given_encoder)
        loaded = load_text_tower(preset, weights=job.settings.text_weights, device=device)
        if isinstance(job.source, RunManifest):
            refuse_long_texts(job.texts, loaded, job.texts_source)
        return in_space(loaded, job.cohort.kind.space, job.cohort.kind.dim, job.inputs.features)

    if isinstance(job.source, RunManifest):
        return TrainedSlideModel(load_model(job.source.folder, device, job.source, tower), job)
    return JointSlideModel(tower(), job, job.source, device)


class _SlidePrediction:
    """Predicts slides one by one."""

    def __init__(self, model: SlideModel, job: PredictionJob, out: Path) -> None:
        self.model, self.job, self.out = model, job, out
        self.reader = BagReader(cache_bytes=0)
        self.names = list(job.texts)

    def __call__(self, slide: CohortSlide, /) -> Result:
        features = self.job.features_fingerprint(slide)  # before they are read: a later change is then noticed
        bag = self.reader.evaluation(self.job.cohort.bags[slide.slide_id], self.job.settings.max_tiles)
        scores = self.model(bag, with_maps=self.job.settings.attention)
        predicted = int(scores.logits.argmax()) if self.names else None
        digests: dict[str, str | None] = dict.fromkeys(FILES)
        if scores.maps is not None:
            digests |= self._write_attention(slide, scores.maps, predicted)
        probabilities = class_probabilities(scores.logits) if self.names else scores.logits
        row = {
            **self.job.identity(slide),
            "predicted": None if predicted is None else self.names[predicted],
            "n_tiles": len(bag.features),
            "features": features,
            **digests,
            **{f"prob_{name}": float(value) for name, value in zip(self.names, probabilities, strict=True)},
            **{f"logit_{name}": float(value) for name, value in zip(self.names, scores.logits, strict=True)},
            **{f"{SIMILARITY}{name}": value for name, value in scores.answers.items()},
        }
        return Result(slide.slide_id, Outcome.DONE, row)

    def _write_attention(self, slide: CohortSlide, maps: AttentionMaps, predicted: int | None) -> dict[str, str]:
        """Write the attention file and the heatmap, if it is wanted; return their digests by column."""
        written = {"attention": attention_file(self.out, slide.slide_id)}
        write_attention(written["attention"], maps, self.job.provenance)
        if self.job.settings.heatmaps:
            written["heatmap"] = heatmap_file(self.out, slide.slide_id)
            self._draw(maps, slide, written["heatmap"], predicted)
        return {column: file_digest(path) for column, path in written.items()}

    def _draw(self, maps: AttentionMaps, slide: CohortSlide, path: Path, predicted: int | None) -> None:
        features = self.job.cohort.bags[slide.slide_id].path
        shown, names = maps_to_show(maps, predicted, self.model.n_questions)
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
