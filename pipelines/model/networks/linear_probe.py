"""A frozen FiVE model with a linear layer instead of class texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.five import FiveModel


class LinearProbe(FiveModel):
    """FiVE whose classes are the rows of a linear layer instead of texts.

    The vector of a bag is its embedding with a 1 appended, that of a class its weights and its bias.
    """

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.head = nn.Linear(settings.width, len(spec.classes))

    @property
    def vector_width(self) -> int:
        """Channels of the model and one for the bias."""
        return self.settings.width + 1

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return 0: texts of classes are not read."""
        return 0

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return the embeddings of the bags with a 1 appended, (B, D + 1)."""
        return functional.pad(super().encode_bags(bags, prompts), (0, 1), value=1.0)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding of one bag with a 1 appended, (1, D + 1), and what each prompt looks at, (P, N)."""
        vector, maps = super().attend(bag, prompts)
        return functional.pad(vector, (0, 1), value=1.0), maps

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return weights and bias of each class, (K, D + 1); the texts of the classes are not read."""
        rows = torch.cat([self.head.weight, self.head.bias[:, None]], dim=1)
        return rows[self.class_places(classes)]
