"""Task-specific fine-grained semantics: the prompts that ask a bag of tiles for what matters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.settings.model import ModelSettings
from pipelines.model.networks.text_encoder import TextEncoder


class Prompts(nn.Module):
    """The manual prompts of the questions and the learnable diagnosis prompts.

    P prompts, D channels of the model.
    """

    def __init__(self, questions: Sequence[str], settings: ModelSettings, text: TextEncoder) -> None:
        super().__init__()
        self.questions = tuple(questions)
        count, tokens = settings.diagnosis_prompts, settings.prompt_tokens
        shape = (count, tokens, text.projection.in_features) if tokens else (count, settings.width)
        spread = settings.prompt_std if settings.prompt_std is not None else text.word_std
        self.learned = nn.Parameter(spread * torch.randn(shape))
        self._encoded: Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the learnable prompts."""
        return tuple(f"diagnosis_{number + 1}" for number in range(len(self.learned)))

    def forward(self, text: TextEncoder, kept: Sequence[int]) -> Tensor:
        """Return the prompts of the kept questions and the learnable ones, (P, D), L2-normalised."""
        parts = []
        if kept:
            parts.append(text([self.questions[index] for index in kept]))
        if len(self.learned):
            parts.append(self._encode(text) if self.learned.ndim == 3 else self.learned)
        return functional.normalize(torch.cat(parts), dim=-1)

    def _encode(self, text: TextEncoder) -> Tensor:
        """Return the vectors of the soft tokens; encoded once only where neither they nor the text model learn."""
        if self.learned.requires_grad or not text.frozen:
            return text.encode_embeddings(self.learned)
        if self._encoded is None:
            with torch.no_grad():
                self._encoded = text.encode_embeddings(self.learned)
        return self._encoded
