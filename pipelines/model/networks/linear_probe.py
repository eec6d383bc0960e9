"""A frozen FiVE network with a linear classification layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.fusion_model import FusionModel


class LinearProbe(FusionModel):
    """A FiVE network that predicts classes with a linear layer instead of class texts.

    The vector of a bag is its embedding with a 1 appended. The vector of a class holds its weights and its bias.
    """

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.head = nn.Linear(settings.width, len(spec.classes))

    @property
    def vector_width(self) -> int:
        """Width of the embedding, plus one channel for the bias."""
        return self.settings.width + 1

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def start_from(self, earlier: BagModel) -> None:
        """Load the network of ``earlier``; the linear layer stays untrained."""
        self.load_state_dict(earlier.state_dict(), strict=False)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return 0: the probe does not read class texts."""
        return 0

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return the embeddings of the bags with a 1 appended, (B, D + 1)."""
        return functional.pad(super().encode_bags(bags, prompts), (0, 1), value=1.0)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding of one bag with a 1 appended, (1, D + 1), and its attention maps, (P, N)."""
        vector, maps = super().attend(bag, prompts)
        return functional.pad(vector, (0, 1), value=1.0), maps

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the weights and the bias of each class, (K, D + 1). The class texts are not read."""
        rows = torch.cat([self.head.weight, self.head.bias[:, None]], dim=1)
        return rows[self.class_indices(classes)]
