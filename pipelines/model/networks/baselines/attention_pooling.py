"""Gated attention pooling: ABMIL, and CLAM-SB, which adds an instance-level loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.model.networks.baselines.aggregator import Aggregator

MAX_INSTANCES = 8
"""Maximum number of tiles with the highest, and with the lowest, attention that CLAM labels."""
BAG_WEIGHT = 0.7
"""Weight of the slide loss in CLAM; the instance loss has the rest."""
MARGIN = 1.0
"""Margin of the smooth SVM loss of the instances, at temperature 1."""


class GatedAttention(nn.Module):
    """Equation 9 of Ilse et al. (2018): ``w (tanh(V h) * sigmoid(U h))``, without the softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width // 2
        self.value, self.gate = nn.Linear(width, hidden), nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return one attention score per tile, (N,), for tiles (N, D)."""
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
        """Return the class scores (logits), (K,), of one slide's tiles (N, C)."""
        embedded = self.embed(tiles)
        return self._class_scores(embedded, self.gated(embedded))

    def attention(self, tiles: Tensor) -> Tensor:
        """Return the weights of the tiles in the slide embedding, (1, N); they sum to 1."""
        weights: Tensor = self.gated(self.embed(tiles)).softmax(dim=0)
        return weights[None]

    def _class_scores(self, embedded: Tensor, attention: Tensor) -> Tensor:
        scores: Tensor = self.classify(attention.softmax(dim=0) @ embedded)
        return scores


class ClamSb(Abmil):
    """CLAM with a single attention branch, Lu et al., Nature Biomedical Engineering 2021 (arXiv 2004.09666).

    In training, the tiles with the highest attention are positive examples of the slide's class, and
    those with the lowest attention are negative examples. Because the classes are mutually exclusive,
    the tiles with the highest attention are also negative examples of every other class.
    """

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__(dim, width, n_classes)
        self.instances = nn.ModuleList(nn.Linear(width, 2) for _ in range(n_classes))

    def loss(self, tiles: Tensor, target: Tensor) -> Tensor:
        """Return 0.7 times the cross entropy of the slide plus 0.3 times its instance loss."""
        embedded = self.embed(tiles)
        attention = self.gated(embedded)
        slide_loss = functional.cross_entropy(self._class_scores(embedded, attention), target)
        return BAG_WEIGHT * slide_loss + (1 - BAG_WEIGHT) * self.instance_loss(embedded, attention, int(target))

    def instance_loss(self, embedded: Tensor, attention: Tensor, target: int) -> Tensor:
        """Return the instance loss, averaged over the classes, a scalar.

        The 8 tiles of ``embedded`` (N, D) with the highest attention scores (N,) and the 8 with the
        lowest are labeled. A slide with fewer than 16 tiles uses half of them for each, so the
        two sets do not overlap.
        """
        count = min(MAX_INSTANCES, len(attention) // 2)
        if count == 0:
            return attention.new_zeros(())
        order = attention.argsort(descending=True)
        top, bottom = embedded[order[:count]], embedded[order[-count:]]
        losses = []
        for number, classify in enumerate(self.instances):
            negative = smooth_svm(classify(bottom if number == target else top), 0)
            positive = [smooth_svm(classify(top), 1)] if number == target else []
            losses.append(torch.cat([*positive, negative]).mean())
        return torch.stack(losses).mean()


def smooth_svm(scores: Tensor, label: int) -> Tensor:
    """Return the smooth top-1 SVM loss of each instance, (N,), for two-class scores (N, 2) at temperature 1.

    For two classes, the loss of Berrada, Zisserman and Kumar (ICLR 2018) is
    ``log(1 + exp(margin + score of the other class - score of the label))``.
    """
    return functional.softplus(MARGIN + scores[:, 1 - label] - scores[:, label])
