"""Baselines without weights: a slide belongs to the class whose mean slide is nearest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.baselines.without_text import ModelWithoutText


class PrototypeModel(ModelWithoutText):
    """Nearest class mean of slides that are the mean of their tiles.

    - ``prototype``: Euclidean distance of the slides (Snell et al., NeurIPS 2017, with features that are not trained).
    - ``simpleshot``: the same for slides that are centered on the mean training slide and then L2-normalized
      (Wang et al. 2019, arXiv 1911.04623, "CL2N").

    B bags, N tiles, K classes, C channels. The logit of a class is -|x - m|² for the slide x and the class mean m, plus
    |x|², which is the same for all classes: 2 x m - |m|². So the vector of a bag is x with a 1 appended, and that of a
    class is 2 m and -|m|².
    """

    centre: Tensor
    """(C,) mean training slide; 0 with ``prototype``."""
    means: Tensor
    """(K, C) mean slide of each class."""

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.register_buffer("centre", torch.zeros(spec.feature_dim))
        self.register_buffer("means", torch.zeros(len(spec.classes), spec.feature_dim))

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Empty: there is no attention."""
        return ()

    @property
    def vector_width(self) -> int:
        """Channels of the features, and one for the length of the class mean."""
        return self.spec.feature_dim + 1

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return 2 m and -|m|² of each class, (K, C + 1); the class texts are not used."""
        means = self.means[self.class_indices(classes)]
        return torch.cat([2 * means, -means.square().sum(dim=1, keepdim=True)], dim=1)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return the slides with a 1 appended, (B, C + 1)."""
        return functional.pad(self.prepared(self.pooled(bags)), (0, 1), value=1.0)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, C + 1), and no attention map, (0, N)."""
        return self.encode_bags([bag], prompts), self.means.new_empty(0, len(bag.features))

    def pooled(self, bags: Sequence[TileBag]) -> Tensor:
        """Return the mean of the scaled tiles of each bag, (B, C)."""
        return torch.stack([self.scaled(bag.features.to(self.device)).mean(dim=0) for bag in bags])

    def prepared(self, slides: Tensor) -> Tensor:
        """Return pooled slides (B, C) as they are compared: with ``simpleshot`` centered and L2-normalized."""
        if self.settings.model == "prototype":
            return slides
        return functional.normalize(slides - self.centre, dim=1)

    def set_prototypes(self, slides: Tensor, targets: Tensor) -> None:
        """Set the center and the class means to those of pooled training slides.

        Parameters
        ----------
        slides
            (n, C) of `pooled`.
        targets
            (n,) class of each slide; every class has at least one.
        """
        if self.settings.model == "simpleshot":
            self.centre.copy_(slides.mean(dim=0))
        members = functional.one_hot(targets, len(self.means)).to(slides.dtype)  # (n, K)
        self.means.copy_((members.T @ self.prepared(slides)) / members.sum(dim=0)[:, None])
