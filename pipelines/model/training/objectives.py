"""What training minimizes and validation measures: one objective for descriptions, one for labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.metrics.classification import measure, one_vs_rest_scores
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import BagFile, TileBag
from pipelines.model.data.descriptions import Answers, full_text, kept_questions, merge_equal, rebuilt_texts
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.fusion_model import FusionModel
from pipelines.model.networks.gates import MAX_ANSWERS
from pipelines.model.training.fit_answers import fit_answers, read_class_texts
from pipelines.model.training.fit_labels import fit_labels
from pipelines.model.training.losses import contrastive_loss, matching_loss

MAX_CANDIDATES = 256
"""Maximum number of training descriptions with which a validation slide is compared."""

SlideVectors = Mapping[str, tuple[Sequence[BagFile], Tensor]]
"""Split -> its slides and their vectors, (n, vector width)."""


class Objective(Protocol):
    """What supervises training, and how each kind of model learns from it."""

    def loss(self, model: Any, bags: Sequence[TileBag], rng: np.random.Generator) -> Tensor:
        """Return the loss of one batch, a scalar."""
        ...

    def validate(self, model: Any, slide_ids: Sequence[str], vectors: Tensor) -> dict[str, float]:
        """Return the metrics of validation slides, given their bag vectors (B, D).

        The metric ``loss`` chooses the best epoch.
        """
        ...

    @property
    def asks_about_classes(self) -> bool:
        """Whether the question of the model is about the classes of this run, whatever it was fitted to before."""
        ...

    def answer_texts(self) -> list[list[Sequence[str]]]:
        """Return the texts of each known answer to each question, for the gates that attend by meaning."""
        ...

    def fit_five(self, model: FiveModel, members: Sequence[BagFile], slides: Tensor) -> dict[str, float]:
        """Fit ``model`` in place to standardized ``slides`` (n, G, C), and return the metrics."""
        ...


def metrics_by_split(objective: Objective, model: Any, splits: SlideVectors) -> dict[str, dict[str, float]]:
    """Return the metrics of each split that has slides, given the bag vectors of its slides."""
    return {
        split: objective.validate(model, [slide.slide_id for slide in slides], vectors)
        for split, (slides, vectors) in splits.items()
        if slides
    }


@dataclass(frozen=True)
class DescriptionMatching:
    """Pretraining: match each bag with the description of its patient's report."""

    answers: Mapping[str, Answers]
    """Slide id -> answers of the patient's reports, for training and validation slides."""
    others: Sequence[Answers]
    """Descriptions of the training patients, from which wrong descriptions are drawn."""
    settings: TrainSettings
    wordings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Answer -> the texts that say it; an answer that is not listed is its own text."""
    asks_about_classes: ClassVar[bool] = False

    def loss(self, model: FusionModel, bags: Sequence[TileBag], rng: np.random.Generator) -> Tensor:
        """Return the contrastive loss of the bags, with their own and other patients' descriptions as candidates."""
        drawn = rng.permutation(len(self.others))[: self.settings.extra_texts]
        patients = [self.answers[bag.slide_id] for bag in bags] + [self.others[index] for index in drawn]
        kept, rebuilt = self._rebuilt(patients, len(model.spec.questions), rng)
        texts, indices = merge_equal(rebuilt)
        owners = torch.tensor(indices[: len(bags)], device=model.device)
        n_own = int(owners.max()) + 1  # texts are in order of first appearance, so the batch's own come first
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
        """Return the questions that this step keeps, and one text per patient with the answers to them.

        With a frozen text model, both depend only on a variant drawn from ``text_variants``. The same texts then
        occur again and are encoded only once, and a patient's text does not depend on the other patients in the step.
        """
        settings = self.settings
        if settings.tuning != "frozen" or not settings.text_variants:
            kept = kept_questions(n_questions, settings.max_dropped, rng)
            return kept, rebuilt_texts(patients, kept, rng)
        variant = [settings.seed, 3, int(rng.integers(settings.text_variants))]
        kept = kept_questions(n_questions, settings.max_dropped, np.random.default_rng(variant))
        return kept, [rebuilt_texts([answers], kept, np.random.default_rng(variant))[0] for answers in patients]

    def validate(self, model: FusionModel, slide_ids: Sequence[str], vectors: Tensor) -> dict[str, float]:
        """Return ``loss`` and ``retrieval``; the candidates are full descriptions of validation and training patients.

        ``retrieval`` is the share of the other descriptions that score lower than the slide's own; ties count half.
        Chance is 0.5 and perfect is 1, for any number of patients.
        """
        own = [full_text(self.answers[slide_id]) for slide_id in slide_ids]
        texts, indices = merge_equal(own + [full_text(answers) for answers in self.others[:MAX_CANDIDATES]])
        owners = torch.tensor(indices[: len(own)], device=vectors.device)
        logits = model.logits(vectors, model.encode_texts(texts))
        loss = matching_loss(logits, functional.one_hot(owners, len(texts)).bool())
        right = logits.gather(1, owners[:, None])
        wins = (right > logits).sum(dim=1) + ((right == logits).sum(dim=1) - 1) / 2
        share = wins / max(1, len(texts) - 1)
        return {"loss": float(loss), "retrieval": float(share.mean()) if len(texts) > 1 else 0.5}

    def answer_texts(self) -> list[list[Sequence[str]]]:
        """Return the wordings of the most frequent answers of the training patients, the most frequent first."""
        by_question = (Counter(filter(None, said)) for said in zip(*self.others, strict=True))
        return [[self.wordings.get(text, [text]) for text, _ in said.most_common(MAX_ANSWERS)] for said in by_question]

    def fit_five(self, model: FiveModel, members: Sequence[BagFile], slides: Tensor) -> dict[str, float]:
        """Fit each question to its answers."""
        return fit_answers(model, self.answers, self.wordings, members, slides)


@dataclass(frozen=True)
class ClassMatching:
    """Fine-tuning: match each bag with its class. Class texts are always used whole."""

    classes: Mapping[str, Sequence[str]]
    """Class -> texts."""
    labels: Mapping[str, str]
    """Slide id -> class."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Class -> weight of its slides in training; 1 if a class is not listed."""
    asks_about_classes: bool = False
    """Whether the only question of the model is which class it is. It is answered from the class texts."""

    def loss(self, model: BagModel, bags: Sequence[TileBag], rng: np.random.Generator) -> Tensor:
        """Return the mean of the bags' losses, weighted by class."""
        targets = self._targets([bag.slide_id for bag in bags]).to(model.device)
        weights = torch.tensor([self.weights.get(name, 1.0) for name in self.classes], device=model.device)
        return (model.class_losses(bags, targets, self.classes) * weights[targets]).mean()

    def validate(self, model: BagModel, slide_ids: Sequence[str], vectors: Tensor) -> dict[str, float]:
        """Return ``loss``, ``accuracy`` and, if it is defined, ``auc``."""
        logits = model.logits(vectors, model.encode_classes(self.classes)).float().cpu()
        targets = self._targets(slide_ids)
        loss = float(functional.cross_entropy(logits, targets))
        if not math.isfinite(loss):
            return {"loss": loss}
        metrics = measure(
            targets.numpy(),
            logits.argmax(dim=1).numpy(),
            one_vs_rest_scores(logits.double().numpy()),
            list(slide_ids),
            classes=list(self.classes),
            resamples=0,
        )
        values = {m.name: m.value for m in metrics if m.name in ("accuracy", "auc") and m.value is not None}
        return {"loss": loss, **values}

    def answer_texts(self) -> list[list[Sequence[str]]]:
        """Return the texts of each class as the answers to one question."""
        return [list(self.classes.values())]

    def fit_five(self, model: FiveModel, members: Sequence[BagFile], slides: Tensor) -> dict[str, float]:
        """Fit what the labels add to the class texts."""
        if self.asks_about_classes:
            read_class_texts(model, self.classes, slides)
        fit_labels(model, self.classes, self.labels, self.weights, members, slides)
        return self.validate(model, [slide.slide_id for slide in members], model.bag_vectors(slides))

    def _targets(self, slide_ids: Sequence[str]) -> Tensor:
        names = list(self.classes)
        return torch.tensor([names.index(self.labels[slide_id]) for slide_id in slide_ids])
