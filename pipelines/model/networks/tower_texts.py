"""Texts in the joint space of the image encoder: its own text tower, frozen, in place of a text model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipelines.model.networks.zero_shot.text_vectors import TextTower

TowerLoader = Callable[[], TextTower]
"""Loads the text tower of the encoder of the features, and checks that both share a space."""


class TowerTexts:
    """The text tower with the interface that `FiveModel` needs of a text model.

    M texts, W channels of the joint space.
    """

    pretrained_names: frozenset[str] = frozenset()

    def __init__(self, load: TowerLoader | None) -> None:
        if load is None:
            raise ValueError("a model with the texts of its encoder needs the text tower")
        self.tower = load()
        self._vectors: dict[str, Tensor] = {}

    @property
    def width(self) -> int:
        """W, channels of the joint space."""
        return self.tower.dim

    @property
    def fingerprint(self) -> str:
        """Name of the joint space, which has a fingerprint of the weights."""
        return self.tower.space

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """Return one vector of length 1 per text, (M, W). Each text is encoded once.

        Raises
        ------
        SettingsError
            A text is longer than the context of the tower.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors.update(zip(new, torch.from_numpy(self.tower(new)), strict=True))
        return torch.stack([self._vectors[text] for text in texts])

    def too_long(self, texts: Sequence[str]) -> set[str]:
        """Return the texts that have more tokens than the tower reads."""
        counts = self.tower.n_tokens(list(texts))
        return {text for text, count in zip(texts, counts, strict=True) if count > self.tower.context_length}

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return 0: a text that is too long is an error, and is never cut."""
        return 0
