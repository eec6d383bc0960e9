"""Use a baseline in `five train`, with the same tiles, splits, training loop and prediction as FiVE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.baselines.aggregator import Aggregator
from pipelines.model.networks.baselines.attention_pooling import Abmil, ClamSb
from pipelines.model.networks.baselines.dsmil import Dsmil
from pipelines.model.networks.baselines.pooling import MaxPooling, MeanPooling
from pipelines.model.networks.baselines.transmil import TransMil
from pipelines.model.networks.baselines.without_text import ModelWithoutText

AGGREGATORS: Mapping[str, type[Aggregator]] = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "abmil": Abmil,
    "clam-sb": ClamSb,
    "transmil": TransMil,
    "dsmil": Dsmil,
}
"""Value of ``--model`` -> network."""


class BaselineModel(ModelWithoutText):
    """Predict the classes of the training labels from tiles only.

    B bags, N tiles per bag, P attention maps, K classes. The vector of a bag holds its class
    scores, and the vector of a class is a one-hot vector, so their product is the class score.
    """

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.network = AGGREGATORS[settings.model](spec.feature_dim, settings.width, len(spec.classes))

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Names of the attention maps."""
        return self.network.map_names(self.spec.classes)

    @property
    def vector_width(self) -> int:
        """K, number of classes."""
        return len(self.spec.classes)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return one one-hot vector per class, (K, K); the class texts are not used."""
        return torch.eye(self.vector_width, device=self.device)[self.class_indices(classes)]

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return the class scores of each bag, (B, K)."""
        return torch.stack([self.network(tiles) for tiles in self._scaled_features(bags)])

    def class_losses(self, bags: Sequence[TileBag], targets: Tensor, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the baseline's own loss of each bag, (B,); ``targets`` (B,) are indices into ``classes``."""
        class_indices = self.encode_classes(classes).argmax(dim=1)[targets]
        return torch.stack(
            [self.network.loss(*pair) for pair in zip(self._scaled_features(bags), class_indices, strict=True)]
        )

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class scores of one bag, (1, K), and its attention maps, (P, N); rows sum to 1."""
        return self.encode_bags([bag], prompts), self.network.attention(*self._scaled_features([bag]))

    def _scaled_features(self, bags: Sequence[TileBag]) -> list[Tensor]:
        return [self.scaled(bag.features.to(self.device)) for bag in bags]
