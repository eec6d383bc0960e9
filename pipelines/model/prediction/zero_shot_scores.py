"""Score slides by comparing their tiles with texts, without a trained model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.core.attention_file import OTHER, AttentionMaps
from pipelines.core.errors import SettingsError
from pipelines.core.settings import PredictSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.zero_shot.pooling import Scores, tile_weights
from pipelines.model.networks.zero_shot.similarities import cosine_similarities
from pipelines.model.networks.zero_shot.text_vectors import Alternatives, TextTower, alternatives
from pipelines.model.prediction.job import PredictionJob
from pipelines.model.prediction.slide_scores import SlideScores, finite
from pipelines.model.prediction.zero_shot_job import ANSWER, Texts


class ZeroShotSlideModel:
    """The texts of a job, in the joint space of the encoder of the features.

    Raises
    ------
    SettingsError
        A text is too long, two classes have the same vector, or the features are of another space than the tower.
    """

    n_questions = 0

    def __init__(self, tower: TextTower, job: PredictionJob, device: torch.device) -> None:
        texts = job.zero_shot
        _refuse_other_space(tower, job, texts)
        self.settings, self.device = job.settings, device
        self.temperature = job.settings.temperature or 1 / tower.logit_scale
        groups = {"": (job.texts, job.inputs.classes), **{name: (its, job.inputs.questions) for name, its in texts.answers.items()}}
        self.choices = [alternatives(name, its, tower, source) for name, (its, source) in groups.items() if its]
        refuse_long_texts({OTHER: texts.other}, tower, job.inputs.classes)
        vectors = [choice.vectors for choice in self.choices] + ([tower(texts.other)] if texts.other else [])
        self.vectors = torch.from_numpy(np.concatenate(vectors)).to(device)
