"""What every model of `five train` is: bags of tiles to vectors that are compared with those of classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.errors import SettingsError
from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag


@dataclass(frozen=True)
class ModelSpec:
    """What the data say about the model, beside its settings."""

    feature_dim: int
    """Channels of the tile features."""
    encoder: str
    """Name of the image encoder that made them."""
    encoder_fingerprint: str
    questions: Mapping[str, str]
    """Question id -> manual prompt; none for a baseline."""
    classes: list[str] = field(default_factory=list)
    """Classes of a baseline or a probe, in the order of its outputs; none for FiVE, which reads them as texts."""
    labels: list[str] = field(default_factory=list)
    """Classes whose labels FiVE was fine-tuned on: its closed form has weights for them beside their texts."""


class BagModel(nn.Module, ABC):
    """A model of slides: training, prediction and checkpoints use nothing else.

    B bags, N tiles of a bag, P prompts, K classes, C channels of the image encoder, D of a vector.
    """

    feature_mean: Tensor
    feature_std: Tensor

    checkpointing = False
    """Compute the activations of a bag again in the backward pass instead of keeping those of all bags."""

    label_smoothing = 0.0
    """Share of the target that the other classes get in `class_losses`."""

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.register_buffer("feature_mean", torch.zeros(spec.feature_dim))
        self.register_buffer("feature_std", torch.ones(spec.feature_dim))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.feature_mean.device

    @property
    @abstractmethod
    def prompt_names(self) -> tuple[str, ...]:
        """Names of the attention maps; empty for a model that has none."""

    @property
    @abstractmethod
    def vector_width(self) -> int:
        """D, channels of what `encode_bags` returns."""

    @property
    @abstractmethod
    def text_fingerprint(self) -> str:
        """Fingerprint of the text model, empty without one."""

    @property
    @abstractmethod
    def scale(self) -> Tensor:
        """Factor between the products of vectors and logits, a scalar."""

    @abstractmethod
    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return the prompts of the kept (default all) questions and the learnable ones, (P, D)."""

    @abstractmethod
    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return one vector a class, (K, D)."""

    @abstractmethod
    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector a bag, (B, D)."""

    @abstractmethod
    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, D), and what each of `prompt_names` looks at, (P, N); rows sum to 1."""

    @abstractmethod
    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the model reads."""

    def class_losses(self, bags: Sequence[TileBag], targets: Tensor, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the loss of each bag given its class, (B,): cross entropy unless a baseline's paper adds to it.

        Parameters
        ----------
        targets
            (B,) places in ``classes``.
        """
        logits = self.logits(self.encode_bags(bags, self.encode_prompts()), self.encode_classes(classes))
        return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)

    def class_places(self, classes: Mapping[str, Sequence[str]]) -> list[int]:
        """Return where each class stands in the spec, for a model that knows only those of its training.

        Raises
        ------
        SettingsError
            They are others.
        """
        known = self.spec.classes
        if set(classes) != set(known):
            raise SettingsError(
                f"classes {', '.join(classes)}: this model was trained on {', '.join(known)}",
                hint="leave --classes out; only FiVE that was not probed predicts classes from new texts",
            )
        return [known.index(name) for name in classes]

    def checkpoint_activations(self) -> None:
        """From now on compute activations again in the backward pass instead of keeping those of a whole batch."""
        self.checkpointing = True

    def freeze_text(self) -> None:
        """Stop learning on the text side: texts and prompts stay as they are and are encoded once only."""

    def scale_features(self, mean: Tensor, std: Tensor) -> None:
        """Centre and scale tile features from now on by these (C,) statistics."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)

    def scaled(self, features: Tensor) -> Tensor:
        """Return features (N, C) as stored, centred and scaled, in single precision."""
        return (features.float() - self.feature_mean) / self.feature_std

    def logits(self, bags: Tensor, classes: Tensor) -> Tensor:
        """Return the scaled products of bag and class (or text) vectors, (B, K)."""
        return self.scale * bags @ classes.T
