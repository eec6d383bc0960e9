"""A baseline as a model of `five train`: same tiles, splits, loop, checkpoint and prediction as FiVE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.baselines.aggregator import Aggregator
from pipelines.model.networks.baselines.attention_pooling import Abmil, ClamSb
from pipelines.model.networks.baselines.dsmil import Dsmil
from pipelines.model.networks.baselines.pooling import MaxPooling, MeanPooling
from pipelines.model.networks.baselines.transmil import TransMil

AGGREGATORS: Mapping[str, type[Aggregator]] = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "abmil": Abmil,
    "clam-sb": ClamSb,
    "transmil": TransMil,
    "dsmil": Dsmil,
}


class BaselineModel(BagModel):
    """Scores of the classes of the training, from tiles alone.

    The vector of a bag is its scores, and a class's the unit vector of its place among them, so
    that their product is the class's score.
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
        """Number of classes."""
        return len(self.spec.classes)

    @property
    def text_fingerprint(self) -> str:
        """Empty: no text model."""
        return ""

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return 0: no text is read."""
        return 0

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return no prompts."""
        return torch.empty(0, self.vector_width, device=self.device)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return a unit vector a class, (K, K); the texts of the classes are not read."""
        return torch.eye(self.vector_width, device=self.device)[self.class_places(classes)]

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return the scores of the classes of each bag, (B, K)."""
        return torch.stack([self.network(tiles) for tiles in self._by_bag(bags)])

    def class_losses(self, bags: Sequence[TileBag], targets: Tensor, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the baseline's own loss of each bag, (B,); ``targets`` (B,) are places in ``classes``."""
        places = self.encode_classes(classes).argmax(dim=1)[targets]
        return torch.stack([self.network.loss(*one) for one in zip(self._by_bag(bags), places, strict=True)])

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores of the classes, (1, K), and the attention maps, (P, N); rows sum to 1."""
        return self.encode_bags([bag], prompts), self.network.attention(*self._by_bag([bag]))

    def _by_bag(self, bags: Sequence[TileBag]) -> list[Tensor]:
        return [self.scaled(bag.features.to(self.device)) for bag in bags]
