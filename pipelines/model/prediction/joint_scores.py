"""Score slides by comparing their tiles with texts, without a trained model."""

from __future__ import annotations

import numpy as np
import torch

from pipelines.core.attention_file import OTHER, AttentionMaps
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.zero_shot.pooling import Scores, tile_weights
from pipelines.model.networks.zero_shot.similarities import cosine_similarities
from pipelines.model.networks.zero_shot.text_vectors import Alternatives, TextTower, alternatives, refuse_long_texts
from pipelines.model.prediction.job import JointTexts, PredictionJob
from pipelines.model.prediction.slide_scores import SlideScores, finite


class JointSlideModel:
    """The texts of a job as vectors in the joint space of the encoder of the features.

    K classes, T texts: classes, answers and, if there are any, other tissue. N tiles.
    """

    n_questions = 0

    def __init__(self, tower: TextTower, job: PredictionJob, joint: JointTexts, device: str) -> None:
        """Encode the texts.

        Raises
        ------
        SettingsError
            A text is too long, or two classes have one vector.
        """
        self.settings = job.settings
        self.temperature = job.settings.temperature or 1 / tower.logit_scale
        groups = _encoded(tower, job, joint)
        refuse_long_texts({OTHER: joint.other}, tower, job.inputs.classes)
        self.n_classes = len(job.texts)
        self.names = [f"{group.name}={name}" if group.name else name for group in groups for name in group.names]
        ends = np.cumsum([len(group.names) for group in groups]).tolist()
        self.groups = [slice(end - len(group.names), end) for end, group in zip(ends, groups, strict=True)]
        vectors = [*(group.vectors for group in groups), *([tower(list(joint.other))] if joint.other else [])]
        self.vectors = torch.from_numpy(np.concatenate(vectors)).to(device)

    def __call__(self, bag: TileBag, *, with_maps: bool) -> SlideScores:
        """Return the scores of the slide with the tiles ``bag``."""
        with torch.inference_mode():
            compared = finite(cosine_similarities(bag.features, self.vectors).cpu().numpy())
        similarities, other = compared[: len(self.names)], compared[len(self.names) :]
        weights = np.concatenate(
            [tile_weights(similarities[rows], other, self.settings, self.temperature) for rows in self.groups]
        )
        pooled = np.einsum("tn,tn->t", weights, similarities, dtype=np.float64)
        answers = dict(zip(self.names[self.n_classes :], pooled[self.n_classes :].tolist(), strict=True))
        maps = self._maps(bag, similarities, other, weights) if with_maps else None
        return SlideScores(pooled[: self.n_classes] / self.temperature, maps, answers)

    def _maps(self, bag: TileBag, similarities: Scores, other: Scores, weights: Scores) -> AttentionMaps:
        best_other = other.max(axis=0, keepdims=True) if len(other) else other
        classes = slice(0, self.n_classes)
        return AttentionMaps(
            weights=weights,
            prompts=self.names,
            coords=bag.corners,
            tile_size_level0=bag.tile_size_level0,
            contributions=weights[classes] * similarities[classes] / self.temperature,
            classes=self.names[classes],
            texts=[*self.names, *([OTHER] if len(other) else [])],
            similarities=np.concatenate([similarities, best_other]),
        )


def _encoded(tower: TextTower, job: PredictionJob, joint: JointTexts) -> list[Alternatives]:
    """Return the vectors of the classes, if there are any, and of the answers to each question."""
    classes = [alternatives("", job.texts, tower, job.inputs.classes)] if job.texts else []
    return classes + [
        alternatives(question, answers, tower, f"{job.inputs.questions}, question '{question}'")
        for question, answers in joint.answers.items()
    ]
