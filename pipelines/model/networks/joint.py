"""FiVE's network combined with its closed form: the logits of both are added.

The closed form takes seconds to fit. It carries what descriptions and a few labels say about a slide. The network is
trained separately and adds what many labels teach about tiles. Nothing in the closed form is chosen by validation, so
it also learns from the validation patients. Training the network on the residuals of the closed form was tried; with
few labels it gave worse models.

A network that was pretrained on few patients may have learned nothing but their descriptions, and would then add
noise. Its logits are therefore multiplied by a weight. After pretraining the weight is 1 if the network matches
validation slides to their descriptions, and 0 otherwise (`training/network_weight.py`). After training on labels the
weight grows with their number (`training/objectives.py`).
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

FITTED_TO_LABELS = ("linear.weights", "linear.biases")
"""Tensors that belong to the classes of one run."""
FEATURE_SCALING = ("network.feature_mean", "network.feature_std")
"""Statistics of the network's tile features."""


class JointFive(BagModel):
    """A `FiveModel` and a `LinearFive` whose vectors are concatenated.

    B bags, P prompts, K classes, D channels of the network, E channels of the closed form.
    """

    network_weight: float = 1.0
    """Factor of the network's logits, 0 to 1."""

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.network = FiveModel(settings, spec)
        self.linear = LinearFive(replace(settings, model="five-linear"), replace(spec, classes=spec.labels, labels=[]))

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Prompt names of the network."""
        return self.network.prompt_names

    @property
    def vector_width(self) -> int:
        """Channels of the network plus those of the closed form."""
        return self.network.vector_width + self.linear.vector_width

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the text model's weights."""
        return self.network.text_fingerprint

    @property
    def scale(self) -> Tensor:
        """Logit scale of the network."""
        return self.network.scale

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the text model reads."""
        return self.network.count_truncated(texts)

    def scale_features(self, mean: Tensor, std: Tensor) -> None:
        """Standardize tile features with these statistics, (C,) each, from now on."""
        self.network.scale_features(mean, std)
        self.linear.scale_features(mean, std)

    def pretrained_names(self) -> set[str]:
        """Return the names of the weights that training never changes."""
        parts = {"network": self.network, "linear": self.linear}
        return {f"{part}.{name}" for part, model in parts.items() for name in model.pretrained_names()}

    def network_state(self) -> dict[str, Tensor]:
        """Return the weights of the network, named as in a `FiveModel`."""
        return self.network.state_dict()

    def state_for_new_labels(self) -> dict[str, Tensor]:
        """Return the weights from which a model of other labels starts.

        If the weight of the network is 0, only its feature statistics are kept: a new network learns better from
        labels.
        """
        learned = {name: tensor for name, tensor in self.state_dict().items() if name not in FITTED_TO_LABELS}
        if self.network_weight:
            return learned
        return {
            name: tensor
            for name, tensor in learned.items()
            if not name.startswith("network.") or name in FEATURE_SCALING
        }

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return the prompts of the network, (P, D)."""
        return self.network.encode_prompts(kept)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return one vector per class, (K, D + E).

        For classes other than the labels of the run, the closed form uses only the class texts.
        """
        if set(classes) == set(self.spec.labels):
            rows = self.linear.encode_classes(classes)
        else:
            texts = self.linear.class_text_vectors(classes)
            rows = functional.pad(texts, (0, self.linear.vector_width - texts.shape[1]))
        return torch.cat([self.network.encode_classes(classes), rows], dim=1)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector per bag, (B, D + E)."""
        return torch.cat([self.network.encode_bags(bags, prompts), self.linear.encode_bags(bags, prompts)], dim=1)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, D + E), and the network's attention maps, (P, N); rows sum to 1."""
        vector, maps = self.network.attend(bag, prompts)
        return torch.cat([vector, self.linear.encode_bags([bag], prompts)], dim=1), maps

    def logits(self, bags: Tensor, classes: Tensor) -> Tensor:
        """Return the weighted logits of the network plus those of the closed form, (B, K)."""
        width = self.network.vector_width
        closed_form = self.linear.logits(bags[:, width:], classes[:, width:])
        return self.network_weight * self.network.logits(bags[:, :width], classes[:, :width]) + closed_form
