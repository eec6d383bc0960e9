"""Texts in the joint space of the image encoder: its own text tower, frozen, in place of a text model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipelines.core.errors import ArtifactError
from pipelines.model.networks.zero_shot.text_vectors import TextTower

TowerLoader = Callable[[], TextTower]
"""Loads the text tower of the encoder of the features."""


class TowerTexts:
    """The text tower with the interface that `FiveModel` needs of a text model.

    M texts, W channels of the joint space.
    """

    pretrained_names: frozenset[str] = frozenset()

    def __init__(self, load: TowerLoader | None, space: str) -> None:
        """Load the tower.

        Raises
        ------
        ArtifactError
            The tower is of another space than the features.
        """
        if load is None:
            raise ValueError("a model with the texts of its encoder needs the text tower")
        self.tower = load()
        if self.tower.space != space:
            raise ArtifactError(
                f"features of the space '{space}', but the text tower is of '{self.tower.space}'",
                hint="pass the weights that the features were made with (--text-weights), or embed the slides again",
            )
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

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return 0: a text that is too long is an error, and is never cut."""
        return 0
