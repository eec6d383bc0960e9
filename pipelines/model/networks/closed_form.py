"""FiVE in closed form: a linear model for tens of slides or a few labels per class.

It learns as FiVE does, from descriptions first and then from labels, but it is linear.

- A slide is the log-mean-exp of its tiles in each channel. This lies between their mean and their maximum, so a few
  tumor tiles are not lost among hundreds of others.
- Pretraining is a ridge regression from that vector to the text embeddings of the answers in the patient's report.
  The result predicts classes from any class texts.
- Fine-tuning is a logistic regression that starts from the class texts. Its penalty pulls the weights back to the
  texts; the fewer labels there are, the more they stay there (`training/closed_form_solvers.py`).

The constants were chosen on patients who are not in the reported results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.fusion import log_mean_exp
from pipelines.model.networks.text_encoder import TextEncoder

SHARPNESS = 2.0
"""Sharpness of the log-mean-exp over standardized tiles."""


class LinearFive(BagModel):
    """A linear map from slides to texts, and a linear classifier that is added to the class texts.

    B bags, N tiles, K classes, C channels of the image encoder, W channels of the text model.
    """

    centre: Tensor
    """(C,) mean of the pooled training slides."""
    size: Tensor
    """Scalar: root mean square length of the centered training slides."""
    to_text: Tensor
    """(W, C) map from slides to text embeddings."""
    spread: Tensor
    """(W, W) second moments of the predicted texts of the training slides."""
    weights: Tensor
    """(K, C) weights of the classes; only after training on labels."""
    biases: Tensor
    """(K,) biases of the classes; only after training on labels."""

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.text = TextEncoder(replace(settings, tuning="frozen"))
        self.text.requires_grad_(requires_grad=False)
        channels, words = spec.feature_dim, self.text.width
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("size", torch.ones(()))
        self.register_buffer("to_text", torch.zeros(words, channels))
        self.register_buffer("spread", torch.zeros(words, words))
        if spec.classes:
            self.register_buffer("weights", torch.zeros(len(spec.classes), channels))
            self.register_buffer("biases", torch.zeros(len(spec.classes)))

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Empty: the log-mean-exp has no attention."""
        return ()

    @property
    def vector_width(self) -> int:
        """Text channels, image channels, and one channel for the bias."""
        return self.text.width + self.spec.feature_dim + 1

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the text model's weights."""
        return self.text.fingerprint

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the text model reads."""
        return self.text.count_truncated(texts)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one unit vector per text, (M, W)."""
        return functional.normalize(self.text.pooled(texts), dim=-1)

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return an empty tensor: there are no prompts."""
        return self.to_text.new_empty(0, self.text.width)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the text vector, the weights and the bias of each class, (K, W + C + 1)."""
        texts = self.class_text_vectors(classes)
        if not self.spec.classes:
            return functional.pad(texts, (0, self.spec.feature_dim + 1))
        indices = self.class_indices(classes)
        return torch.cat([texts, self.weights[indices], self.biases[indices, None]], dim=1)

    def class_text_vectors(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the mean text vector of each class minus the mean over classes, (K, W).

        The vectors are scaled so that over the pretraining slides the logits of two classes differ by 1 in the root
        mean square.
        """
        means = torch.stack([self.encode_texts(texts).mean(dim=0) for texts in classes.values()])
        texts = functional.normalize(means, dim=-1)
        texts = texts - texts.mean(dim=0)
        between = (texts[:, None] - texts).flatten(0, 1)  # (K * K, W)
        square = torch.einsum("iw,wv,iv->", between, self.spread, between) / max(1, len(texts) * (len(texts) - 1))
        return texts / square.sqrt() if square > 0 else torch.zeros_like(texts)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector per bag, (B, W + C + 1); see `bag_vectors`."""
        return self.bag_vectors(self.standardized(torch.stack([self.pooled(bag) for bag in bags])))

    def pretrained_names(self) -> set[str]:
        """Return the names of the weights that training never changes."""
        return {f"text.{name}" for name in self.text.pretrained_names}

    def pooled(self, bag: TileBag) -> Tensor:
        """Return the log-mean-exp of the standardized tiles, (C,)."""
        return log_mean_exp(bag.features.to(self.device), SHARPNESS, of=self.scaled)

    def standardized(self, pooled: Tensor) -> Tensor:
        """Return pooled slides (B, C), centered and scaled to a mean squared length of about 1."""
        return (pooled - self.centre) / self.size

    def bag_vectors(self, slides: Tensor) -> Tensor:
        """Return the predicted text, the slide vector itself and a 1 for each of ``slides`` (B, C), (B, W + C + 1)."""
        return torch.cat([slides @ self.to_text.T, slides, torch.ones_like(slides[:, :1])], dim=1)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, W + C + 1), and no attention maps, (0, N)."""
        return self.encode_bags([bag], prompts), self.to_text.new_empty(0, len(bag.features))
