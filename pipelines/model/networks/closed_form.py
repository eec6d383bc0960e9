"""FiVE in closed form: what tens of slides, or a few labels a class, are enough to learn.

The supervision is FiVE's, descriptions before labels; what learns is linear. A slide is the
log-mean-exp of its tiles, channel by channel, between their mean and their maximum, so that a few
tiles of tumor are not lost among hundreds of others. Pre-training is a ridge regression from that
vector to the text embeddings of the answers of the patient's report; it predicts classes from any
texts. Fine-tuning is a logistic regression whose starting point is the class texts: the penalty
draws it back to what language says, the more so the fewer labels there are (`linear_fit`).

Its constants were chosen on a cohort of other patients than those reported.
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
"""Of the log-mean-exp over scaled tiles."""


class LinearFive(BagModel):
    """A linear map from slides to texts, and weights of classes beside their texts.

    B bags, N tiles, K classes, C channels of the image encoder, W of the text model.
    """

    centre: Tensor
    size: Tensor
    to_text: Tensor
    spread: Tensor
    weights: Tensor
    biases: Tensor

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
        """Empty: a log-mean-exp has no attention."""
        return ()

    @property
    def vector_width(self) -> int:
        """Channels of text and image, and one for the bias."""
        return self.text.width + self.spec.feature_dim + 1

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the weights of the text model."""
        return self.text.fingerprint

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the text model reads."""
        return self.text.count_truncated(texts)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one vector a text, (M, W) of length 1."""
        return functional.normalize(self.text.pooled(texts), dim=-1)

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return no prompts: nothing is asked of the tiles."""
        return self.to_text.new_empty(0, self.text.width)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return text, weights and bias of each class, (K, W + C + 1)."""
        texts = self.class_texts(classes)
        if not self.spec.classes:
            return functional.pad(texts, (0, self.spec.feature_dim + 1))
        places = self.class_places(classes)
        return torch.cat([texts, self.weights[places], self.biases[places, None]], dim=1)

    def class_texts(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return what the texts of each class say that the others do not, (K, W).

        Scaled so that the logits of two classes differ by 1 in the root mean square over the slides of the
        pre-training.
        """
        means = torch.stack([self.encode_texts(texts).mean(dim=0) for texts in classes.values()])
        texts = functional.normalize(means, dim=-1)
        texts = texts - texts.mean(dim=0)
        between = (texts[:, None] - texts).flatten(0, 1)  # (K * K, W)
        square = torch.einsum("iw,wv,iv->", between, self.spread, between) / max(1, len(texts) * (len(texts) - 1))
        return texts / square.sqrt() if square > 0 else torch.zeros_like(texts)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return what a bag says in text, its vector, and a 1, (B, W + C + 1)."""
        return self.described(self.vectors(torch.stack([self.pooled(bag) for bag in bags])))

    def pooled(self, bag: TileBag) -> Tensor:
        """Return the log-mean-exp of the scaled tiles, (C,)."""
        return log_mean_exp(bag.features.to(self.device), SHARPNESS, of=self.scaled)

    def vectors(self, pooled: Tensor) -> Tensor:
        """Return pooled slides (B, C), centred and with a mean square of about 1."""
        return (pooled - self.centre) / self.size

    def described(self, vectors: Tensor) -> Tensor:
        """Return what slides (B, C) say in text, themselves, and a 1, (B, W + C + 1)."""
        return torch.cat([vectors @ self.to_text.T, vectors, torch.ones_like(vectors[:, :1])], dim=1)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, W + C + 1), and no maps."""
        return self.encode_bags([bag], prompts), self.to_text.new_empty(0, len(bag.features))
