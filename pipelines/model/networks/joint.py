"""FiVE's network and its closed form side by side: their logits are added.

The closed form is fitted in seconds. What it says of a slide follows from descriptions and from a few labels; the
network is trained by itself and adds what many labels teach about tiles. Nothing of the closed form is chosen by
validation, so that it learns from the validation patients too. Training the network on what the closed form leaves
unexplained was tried, and gave worse models of few labels.

A network that pre-training on few patients taught nothing but their own descriptions would only disturb: it is heard
if it tells validation slides by their descriptions (`hearing`), or was trained on labels, and the more the more labels
there were (`fitting`).
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
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.networks.five import FiveModel


class JointFive(BagModel):
    """A `FiveModel` and a `LinearFive` whose vectors stand one behind the other.

    B bags, P prompts, K classes, D channels of the network, E of the closed form.
    """

    heard: Tensor
    """Scalar, 0 to 1: the factor of the network's logits."""

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.register_buffer("heard", torch.ones(()))
        self.network = FiveModel(settings, spec)
        self.linear = LinearFive(replace(settings, model="five-linear"), replace(spec, classes=spec.labels, labels=[]))

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Those of the network."""
        return self.network.prompt_names

    @property
    def vector_width(self) -> int:
        """Channels of the network and of the closed form."""
        return self.network.vector_width + self.linear.vector_width

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the weights of the text model."""
        return self.network.text_fingerprint

    @property
    def scale(self) -> Tensor:
        """That of the network."""
        return self.network.scale

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the text model reads."""
        return self.network.count_truncated(texts)

    def scale_features(self, mean: Tensor, std: Tensor) -> None:
        """Centre and scale tile features from now on by these (C,) statistics."""
        self.network.scale_features(mean, std)
        self.linear.scale_features(mean, std)

    def before_labels(self) -> dict[str, Tensor]:
        """Return the weights that a model of other labels starts from.

        A network that is not heard is not among them, but for the scale of its features: labels teach a new one better.
        """
        fresh = ("linear.weights", "linear.biases", "heard")
        learned = {name: weight for name, weight in self.state_dict().items() if name not in fresh}
        if self.heard:
            return learned
        scale = ("network.feature_mean", "network.feature_std")
        return {name: weight for name, weight in learned.items() if not name.startswith("network.") or name in scale}

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return the prompts of the network, (P, D)."""
        return self.network.encode_prompts(kept)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return one vector a class, (K, D + E).

        Classes other than those of the labels have only their texts in the closed form.
        """
        if set(classes) == set(self.spec.labels):
            rows = self.linear.encode_classes(classes)
        else:
            texts = self.linear.class_texts(classes)
            rows = functional.pad(texts, (0, self.linear.vector_width - texts.shape[1]))
        return torch.cat([self.network.encode_classes(classes), rows], dim=1)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector a bag, (B, D + E)."""
        return torch.cat([self.network.encode_bags(bags, prompts), self.linear.encode_bags(bags, prompts)], dim=1)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, D + E), and what each prompt looks at, (P, N); rows sum to 1."""
        vector, maps = self.network.attend(bag, prompts)
        return torch.cat([vector, self.linear.encode_bags([bag], prompts)], dim=1), maps

    def logits(self, bags: Tensor, classes: Tensor) -> Tensor:
        """Return the logits of the network, if it is heard, plus those of the closed form, (B, K)."""
        width = self.network.vector_width
        closed_form = self.linear.logits(bags[:, width:], classes[:, width:])
        return self.heard * self.network.logits(bags[:, :width], classes[:, :width]) + closed_form
