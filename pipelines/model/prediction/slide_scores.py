"""What a model says about one slide, and the interface of the models that say it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.core.attention_file import AttentionMaps
from pipelines.core.errors import ArtifactError
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.prediction.job import PredictionJob

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlideScores:
    """The scores of one slide for K classes, and for the answers to questions."""

    logits: NDArray[np.float64]
    """(K,)"""
    maps: AttentionMaps | None
    """What each tile weighs and says; None if it is not wanted, or if the model has no maps."""
    answers: Mapping[str, float] = field(default_factory=dict)
    """``question=answer`` -> cosine similarity of the slide."""


class SlideModel(Protocol):
    """Scores slides one by one. The texts are encoded once."""

    n_questions: int
    """How many of the first maps are those of questions, which are drawn; 0 if all maps are."""

    def __call__(self, bag: TileBag, *, with_maps: bool) -> SlideScores:
        """Return the scores of the slide with the tiles ``bag``."""


class TrainedSlideModel:
    """A trained model, with the prompts and class texts of a job.

    Raises
    ------
    ArtifactError
        On a call: the features of the slide are NaN or infinite.
    """

    def __init__(self, model: BagModel, job: PredictionJob) -> None:
        self.model, self.names = model, list(job.texts)
        self.n_questions = len(model.spec.questions)
        with torch.inference_mode():
            self.prompts = model.encode_prompts()
            self.classes = model.encode_classes(job.texts)
        if (self.classes == self.classes[0]).all():
            logger.warning(
                "%s: the model cannot distinguish these classes, so every slide gets the same probabilities. Questions "
                "that it learned have an `explained_<question>` above 0 in the metrics.parquet of its run",
                job.texts_source,
            )

    def __call__(self, bag: TileBag, *, with_maps: bool) -> SlideScores:
        """Return the scores of the slide with the tiles ``bag``."""
        with torch.inference_mode():
            if not (with_maps and self.model.prompt_names):
                return SlideScores(self._logits(self.model.encode_bags([bag], self.prompts)), None)
            vector, weights = self.model.attend(bag, self.prompts)
            return SlideScores(self._logits(vector), self._maps(bag, weights))

    def _logits(self, vector: torch.Tensor) -> NDArray[np.float64]:
        logits: NDArray[np.float64] = self.model.logits(vector.double(), self.classes.double())[0].cpu().numpy()
        return finite(logits)

    def _maps(self, bag: TileBag, weights: torch.Tensor) -> AttentionMaps:
        added = self.model.contributions(bag, self.classes)
        return AttentionMaps(
            weights=weights.float().cpu().numpy(),
            prompts=self.model.prompt_names,
            coords=bag.corners,
            tile_size_level0=bag.tile_size_level0,
            contributions=np.zeros((0, len(bag.corners))) if added is None else added.float().cpu().numpy(),
            classes=[] if added is None else self.names,
        )


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values``; raise an `ArtifactError` if one is NaN or infinite."""
    if not np.isfinite(values).all():
        raise ArtifactError("the features hold NaN or infinite values", hint="embed the slide again")
    return values
