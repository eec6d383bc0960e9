"""Gated attention pooling (ABMIL), and the same with clustering of instances (CLAM-SB)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.model.networks.baselines.aggregator import Aggregator

MOST_INSTANCES = 8
"""Tiles that CLAM labels at either end of the attention."""
BAG_WEIGHT = 0.7
"""Weight of the slide's loss in CLAM; the instances' has the rest."""
MARGIN = 1.0
"""Of the instances' smooth support-vector loss, at temperature 1."""


class GatedAttention(nn.Module):
    """Equation 9 of Ilse et al. (2018): ``w (tanh(V h) * sigmoid(U h))``, without the softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 2
        self.value, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return a score for each of the tiles (N, D), (N,)."""
        scores: Tensor = self.score(self.value(tiles).tanh() * self.gate(tiles).sigmoid())
        return scores[:, 0]


class Abmil(Aggregator):
    """Attention-based deep multiple-instance learning, Ilse, Tomczak and Welling, ICML 2018 (arXiv 1802.04712)."""

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__(dim, width, n_classes)
        self.gated = GatedAttention(width)
        self.classify = nn.Linear(width, n_classes)

    def map_names(self, classes: list[str]) -> tuple[str, ...]:
        """Return the name of the one attention map."""
        return ("attention",)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the scores of the classes, (K,), of tiles (N, C)."""
        embedded = self.embed(tiles)
        return self._scores(embedded, self.gated(embedded))

    def attention(self, tiles: Tensor) -> Tensor:
        """Return the weights of the tiles in the slide's embedding, (1, N)."""
        weights: Tensor = self.gated(self.embed(tiles)).softmax(dim=0)
        return weights[None]

    def _scores(self, embedded: Tensor, ranks: Tensor) -> Tensor:
        scores: Tensor = self.classify(ranks.softmax(dim=0) @ embedded)
        return scores


class ClamSb(Abmil):
    """CLAM with a single attention branch, Lu et al., Nature Biomedical Engineering 2021 (arXiv 2004.09666).

    In training the tiles of highest and lowest attention are taken as examples for and against
    the class of the slide; and, as the classes exclude one another, those of highest attention
    as examples against every other class.
    """

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__(dim, width, n_classes)
        self.instances = nn.ModuleList(nn.Linear(width, 2) for _ in range(n_classes))

    def loss(self, tiles: Tensor, target: Tensor) -> Tensor:
        """Return 0.7 of the cross entropy of the slide and 0.3 of the loss of its instances."""
        embedded = self.embed(tiles)
        ranks = self.gated(embedded)
        of_slide = functional.cross_entropy(self._scores(embedded, ranks), target)
        return BAG_WEIGHT * of_slide + (1 - BAG_WEIGHT) * self.instance_loss(embedded, ranks, int(target))

    def instance_loss(self, embedded: Tensor, ranks: Tensor, target: int) -> Tensor:
        """Return the mean over the classes of the loss of their instances, a scalar.

        At most 8 tiles of the (N, D) stand for each end of the attention (N,); the ends do not
        overlap, so that of a slide of a few tiles fewer are taken.
        """
        count = min(MOST_INSTANCES, len(ranks) // 2)
        if count == 0:
            return ranks.new_zeros(())
        order = ranks.argsort(descending=True)
        top, bottom = embedded[order[:count]], embedded[order[-count:]]
        losses = []
        for number, classify in enumerate(self.instances):
            against = smooth_svm(classify(bottom if number == target else top), 0)
            pro = [smooth_svm(classify(top), 1)] if number == target else []
            losses.append(torch.cat([*pro, against]).mean())
        return torch.stack(losses).mean()


def smooth_svm(scores: Tensor, right: int) -> Tensor:
    """Return the smooth top-1 support-vector loss of two classes at temperature 1, (N,) of scores (N, 2).

    ``log(1 + exp(margin + wrong score - right score))``: Berrada, Zisserman and Kumar, ICLR 2018, for two classes.
    """
    return functional.softplus(MARGIN + scores[:, 1 - right] - scores[:, right])
