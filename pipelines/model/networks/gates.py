"""Gates: attention maps of a slide that are known before the questions are fitted.

The tiles of a slide, less their mean, are projected on the main directions of variation within the training slides. For
each direction, one gate attends to the tiles at its positive end and one to those at its negative end. On slides with
tumor the first direction is often tumor against the rest. Another gate attends to all tiles equally.

If the features share a space with texts, each question has one more gate: it attends by meaning, to the tiles that
are most similar to one of the answers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

SHARPNESS = 2.0
"""Factor of the projections, which have a standard deviation of 1, before the softmax over the tiles."""
MEANING_SHARPNESS = 4.0
"""The same for similarities to answers. Fewer tiles show a finding than lie at one end of a direction."""
MAX_ANSWERS = 16
"""Maximum number of answers of a question that its gate looks for."""


class Gates(nn.Module):
    """Attention of G gates over the tiles of a slide. G is 1 + 2 K + Q for K directions and Q questions with a gate.

    N tiles, A answers, C channels of the image encoder.
    """

    directions: Tensor
    """(K, C) directions, scaled so that the projections of training tiles have a standard deviation of 1."""
    answers: Tensor
    """(Q, A, C) vectors whose product with scaled tiles is the similarity to each answer, up to ``offsets``."""
    offsets: Tensor
    """(Q, A) what is added to these products; minus infinity for unused places."""

    def __init__(self, n_directions: int, channels: int, n_questions: int = 0) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(n_directions, channels))
        self.register_buffer("answers", torch.zeros(n_questions, MAX_ANSWERS, channels))
        self.register_buffer("offsets", torch.zeros(n_questions, MAX_ANSWERS))

    @property
    def n_shared(self) -> int:
        """Number of gates that all questions use, 1 + 2 K; they come first."""
        return 1 + 2 * len(self.directions)

    @property
    def count(self) -> int:
        """G, the number of gates."""
        return self.n_shared + len(self.answers)

    def of_question(self, number: int) -> list[int]:
        """Return the gates that a question uses: those of all questions, and its own if there is one."""
        return [*range(self.n_shared), *([self.n_shared + number] if len(self.answers) else [])]

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the attention of each gate over scaled ``tiles`` (N, C), (G, N); rows sum to 1.

        The first gate is uniform; then each direction has one gate for each of its ends, and each question its own.
        """
        projections = (tiles - tiles.mean(dim=0)) @ self.directions.T  # (N, K)
        ends = SHARPNESS * torch.stack([projections, -projections], dim=2).flatten(1)  # (N, 2 K)
        uniform = torch.full_like(tiles[:, :1], 1 / len(tiles))
        attention = [uniform, ends.softmax(dim=0)]
        if len(self.answers):
            attention.append((MEANING_SHARPNESS * self.similarities(tiles)).softmax(dim=0))
        return torch.cat(attention, dim=1).T

    def similarities(self, tiles: Tensor) -> Tensor:
        """Return the similarity of scaled ``tiles`` (N, C) to the closest answer of each question, (N, Q)."""
        products = torch.einsum("nc,qac->nqa", tiles, self.answers)
        return (products + self.offsets).amax(dim=2)

    def fit(self, covariance: Tensor) -> None:
        """Set the directions to the main axes of the ``covariance`` (C, C) of tiles within slides.

        Where tiles do not vary, a direction is 0, and its gates are uniform.
        """
        variances, axes = torch.linalg.eigh(covariance.double())
        k = len(self.directions)
        main, variances = axes.flip(1)[:, :k].T, variances.flip(0)[:k]
        strongest = main.gather(1, main.abs().argmax(dim=1, keepdim=True))
        scaled = main * strongest.sign() / variances.clamp(min=1e-12).sqrt()[:, None]  # sign fixed, to be reproducible
        varies = (variances > 1e-12) & (variances > 1e-6 * variances[0])
        self.directions.copy_(scaled * varies[:, None])

    def look_for(self, number: int, vectors: Tensor, mean: Tensor, std: Tensor) -> None:
        """Let the gate of a question attend to the tiles that are similar to one of the ``vectors`` (A, C) of answers.

        Parameters
        ----------
        mean, std
            (C,) statistics with which the tiles are scaled.
        """
        used = vectors[:MAX_ANSWERS]
        self.answers[number, : len(used)] = used * std
        self.offsets[number] = -torch.inf
        self.offsets[number, : len(used)] = used @ mean

    def set_spread(self, slides: Iterable[Tensor]) -> None:
        """Scale the similarities so that they have a standard deviation of 1 within ``slides``, scaled tiles (N, C)."""
        within = [self.similarities(tiles).var(dim=0, correction=0) for tiles in slides]
        spread = torch.stack(within).mean(dim=0).sqrt()
        spread = torch.where(spread > 1e-9, spread, torch.ones_like(spread))[:, None]
        self.answers /= spread[:, :, None]
        self.offsets /= spread
