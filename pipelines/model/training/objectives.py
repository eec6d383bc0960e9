"""What training minimises and validation measures, one class a regime."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.metrics.classification import measure, one_vs_rest_scores
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.data.descriptions import Answers, full_text, kept_questions, merge_equal, rebuilt_texts
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.five import FiveModel
from pipelines.model.training.losses import contrastive_loss, matching_loss

CANDIDATES = 256
"""Most descriptions that a validation slide is compared with."""


class Objective(Protocol):
    """A regime of training."""

    def loss(self, model: Any, bags: Sequence[TileBag], rng: np.random.Generator) -> Tensor:
        """Return the loss of one batch, a scalar."""
        ...

    def validate(self, model: Any, slide_ids: Sequence[str], vectors: Tensor) -> dict[str, float]:
        """Return figures of the bag embeddings (B, D) of validation slides.

        ``loss`` is among them: it chooses the best epoch.
        """
        ...


@dataclass(frozen=True)
class DescriptionMatching:
    """Pre-training: a bag belongs to the description of its patient's report."""

    answers: Mapping[str, Answers]
    """Slide id -> answers of the patient's reports, of training and validation slides."""
    others: Sequence[Answers]
    """Descriptions of the training patients, from which wrong answers are drawn."""
    settings: TrainSettings

    def loss(self, model: FiveModel, bags: Sequence[TileBag], rng: np.random.Generator) -> Tensor:
        """Return the contrastive loss of bags against their own and other descriptions."""
        drawn = rng.permutation(len(self.others))[: self.settings.extra_texts]
        patients = [self.answers[bag.slide_id] for bag in bags] + [self.others[index] for index in drawn]
        kept, rebuilt = self._rebuilt(patients, len(model.spec.questions), rng)
        texts, place = merge_equal(rebuilt)
        owners = torch.tensor(place[: len(bags)], device=model.device)
        n_own = int(owners.max()) + 1  # texts stand in order of first appearance: the batch's own come first
        vectors = model.encode_texts(texts[:n_own])
        if len(texts) > n_own:
            with torch.no_grad():
                vectors = torch.cat([vectors, model.encode_texts(texts[n_own:])])
        logits = model.logits(model.encode_bags(bags, model.encode_prompts(kept)), vectors)
        positives = functional.one_hot(owners, len(texts)).bool()
        return contrastive_loss(logits, positives, symmetric=self.settings.loss == "symmetric")

    def _rebuilt(
        self, patients: Sequence[Answers], n_questions: int, rng: np.random.Generator
    ) -> tuple[list[int], list[str]]:
        """Return the questions that a step keeps, and the patients' texts of them.

        For a frozen text model both follow from a variant drawn from a few, so that each text comes
        again and is encoded once; a patient's text then does not depend on who else is in the step.
        """
        settings = self.settings
        if settings.tuning != "frozen" or not settings.text_variants:
            kept = kept_questions(n_questions, settings.max_dropped, rng)
            return kept, rebuilt_texts(patients, kept, rng)
        variant = [settings.seed, 3, int(rng.integers(settings.text_variants))]
        kept = kept_questions(n_questions, settings.max_dropped, np.random.default_rng(variant))
        return kept, [rebuilt_texts([answers], kept, np.random.default_rng(variant))[0] for answers in patients]

    def validate(self, model: FiveModel, slide_ids: Sequence[str], vectors: Tensor) -> dict[str, float]:
        """Return ``loss`` and ``retrieval`` against full descriptions of validation and training patients.

        ``retrieval`` is the share of the other descriptions that a slide likes less than its own,
        ties counted half: 0.5 is chance, 1 is perfect, and it means the same for any number of patients.
        """
        own = [full_text(self.answers[slide_id]) for slide_id in slide_ids]
        texts, place = merge_equal(own + [full_text(answers) for answers in self.others[:CANDIDATES]])
        owners = torch.tensor(place[: len(own)], device=vectors.device)
        logits = model.logits(vectors, model.encode_texts(texts))
        loss = matching_loss(logits, functional.one_hot(owners, len(texts)).bool())
        right = logits.gather(1, owners[:, None])
        wins = (right > logits).sum(dim=1) + ((right == logits).sum(dim=1) - 1) / 2
        share = wins / max(1, len(texts) - 1)
        return {"loss": float(loss), "retrieval": float(share.mean()) if len(texts) > 1 else 0.5}


@dataclass(frozen=True)
class ClassMatching:
    """Fine-tuning: a bag belongs to the texts of its class. Nothing is dropped from class texts."""

    classes: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]
    """Slide id -> class."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Class -> weight of its slides in training; 1 where it is not named."""

    def loss(self, model: BagModel, bags: Sequence[TileBag], rng: np.random.Generator) -> Tensor:
        """Return the mean loss of the bags given their classes."""
        targets = self._targets([bag.slide_id for bag in bags]).to(model.device)
        weights = torch.tensor([self.weights.get(name, 1.0) for name in self.classes], device=model.device)
        return (model.class_losses(bags, targets, self.classes) * weights[targets]).mean()

    def validate(self, model: BagModel, slide_ids: Sequence[str], vectors: Tensor) -> dict[str, float]:
        """Return ``loss``, ``accuracy`` and, where it is defined, ``auc``."""
        logits = model.logits(vectors, model.encode_classes(self.classes)).float().cpu()
        targets = self._targets(slide_ids)
        loss = float(functional.cross_entropy(logits, targets))
        if not math.isfinite(loss):
            return {"loss": loss}
        figures = measure(
            targets.numpy(),
            logits.argmax(dim=1).numpy(),
            one_vs_rest_scores(logits.double().numpy()),
            list(slide_ids),
            classes=list(self.classes),
            resamples=0,
        )
        found = {f.name: f.value for f in figures if f.name in ("accuracy", "auc") and f.value is not None}
        return {"loss": loss, **found}

    def _targets(self, slide_ids: Sequence[str]) -> Tensor:
        names = list(self.classes)
        return torch.tensor([names.index(self.labels[slide_id]) for slide_id in slide_ids])
