"""What all models that learn from labels and read no text have in common."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.model.networks.bag_model import BagModel


class ModelWithoutText(BagModel):
    """A model without text model, prompts and logit scale; D channels of a vector."""

    @property
    def text_fingerprint(self) -> str:
        """Empty, because there is no text model."""
        return ""

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return 0, because texts are not used."""
        return 0

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return an empty tensor, (0, D): there are no prompts."""
        return torch.empty(0, self.vector_width, device=self.device)
