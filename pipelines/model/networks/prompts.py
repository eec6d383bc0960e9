"""The prompts that query a bag of tiles: manual prompts of the questions, and learnable ones.

This is the module "task-specific fine-grained semantics" (TFS) of FiVE (CVPR 2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.settings.model import ModelSettings
from pipelines.model.networks.text_encoder import TextEncoder


class Prompts(nn.Module):
    """The manual prompts of the questions and the learnable diagnosis prompts.

    P prompts, D channels of the model. A learnable prompt is a sequence of soft tokens for the text model or,
    if ``prompt_tokens`` is 0, a free vector.
    """

    def __init__(self, questions: Sequence[str], settings: ModelSettings, text: TextEncoder) -> None:
        super().__init__()
        self.questions = tuple(questions)
        count, tokens = settings.diagnosis_prompts, settings.prompt_tokens
        shape = (count, tokens, text.projection.in_features) if tokens else (count, settings.width)
        std = settings.prompt_std if settings.prompt_std is not None else text.word_std
        self.learned = nn.Parameter(std * torch.randn(shape))
        self._encoded: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the learnable prompts."""
        return tuple(f"diagnosis_{number + 1}" for number in range(len(self.learned)))

    def forward(self, text: TextEncoder, kept: Sequence[int]) -> Tensor:
        """Return the prompts of the kept questions and the learnable prompts, (P, D), L2-normalized.

        Parameters
        ----------
        kept
            Indices of the questions to use.
        """
        parts = []
        if kept:
            parts.append(text([self.questions[index] for index in kept]))
        if len(self.learned):
            parts.append(self._encode(text) if self.learned.ndim == 3 else self.learned)
        return functional.normalize(torch.cat(parts), dim=-1)

    def _encode(self, text: TextEncoder) -> Tensor:
        """Return the vectors of the soft tokens; cached if neither they nor the text model are trained."""
        if self.learned.requires_grad or not text.frozen:
            return text.encode_embeddings(self.learned)
        if self._encoded is None:
            with torch.no_grad():
                self._encoded = text.encode_embeddings(self.learned)
        return self._encoded
