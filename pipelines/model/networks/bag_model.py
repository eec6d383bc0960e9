"""The interface of all models: they turn bags of tiles into vectors, which are compared with class vectors."""

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
from pipelines.model.data.feature_kind import FeatureKind


@dataclass(frozen=True)
class ModelSpec:
    """Facts about the data that the model needs beside its settings."""

    feature_dim: int
    """Number of channels of the tile features."""
    encoder: str
    """Name of the image encoder."""
    encoder_fingerprint: str
    tile_size: int
    """Edge length of a tile, pixels as the encoder sees it."""
    target_mpp: float
    """Microns per pixel of the tiles."""
    questions: Mapping[str, str]
    """Question id -> manual prompt; empty for a baseline."""
    classes: list[str] = field(default_factory=list)
    """Classes of a baseline or a probe, in output order; empty for FiVE, which reads class texts."""
    labels: list[str] = field(default_factory=list)
    """Classes that FiVE was fine-tuned on; it has weights for them in addition to their texts."""
    space: str = ""
    """Name of the space that the features share with texts; empty if there is none."""

    @property
    def feature_kind(self) -> FeatureKind:
        """The kind of features that the model was trained on."""
        return FeatureKind(
            self.feature_dim, self.encoder, self.encoder_fingerprint, self.tile_size, self.target_mpp, self.space
        )


class BagModel(nn.Module, ABC):
    """A model of slides. Training, prediction and checkpoints use only this interface.

    B bags, N tiles in a bag, P prompts, K classes, C channels of the image encoder, D channels of a vector.
    """

    feature_mean: Tensor
    feature_std: Tensor

    checkpointing = False
    """Whether the activations of each bag are recomputed in the backward pass, to save memory."""

    label_smoothing = 0.0
    """Share of the target that `class_losses` spreads over all classes."""

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.register_buffer("feature_mean", torch.zeros(spec.feature_dim))
        self.register_buffer("feature_std", torch.ones(spec.feature_dim))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.feature_mean.device

    @property
    @abstractmethod
    def prompt_names(self) -> tuple[str, ...]:
        """Names of the attention maps; empty for a model without attention."""

    @property
    @abstractmethod
    def vector_width(self) -> int:
        """D, the number of channels of a vector."""

    @property
    @abstractmethod
    def text_fingerprint(self) -> str:
        """Fingerprint of the text model; empty without a text model."""

    @property
    @abstractmethod
    def scale(self) -> Tensor:
        """Logit scale, a scalar tensor."""

    @abstractmethod
    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return the prompts of the ``kept`` questions (default: all) and the learnable prompts, (P, D)."""

    @abstractmethod
    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return one vector per class, (K, D)."""

    @abstractmethod
    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector per bag, (B, D)."""

    @abstractmethod
    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, D), and one attention map per prompt name, (P, N); rows sum to 1."""

    @abstractmethod
    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the model reads."""

    def contributions(self, bag: TileBag, classes: Tensor) -> Tensor | None:
        """Return what each tile adds to the logit of each class, (K, N); None if the logits are no sums over tiles."""

    def class_losses(self, bags: Sequence[TileBag], targets: Tensor, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the loss of each bag, (B,): the cross entropy, and what a baseline's paper adds to it.

        Parameters
        ----------
        targets
            (B,) index of each bag's class in ``classes``.
        """
        logits = self.logits(self.encode_bags(bags, self.encode_prompts()), self.encode_classes(classes))
        return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)

    def class_indices(self, classes: Mapping[str, Sequence[str]]) -> list[int]:
        """Return the index of each class among the model's outputs.

        Raises
        ------
        SettingsError
            The model was trained on other classes.
        """
        known = self.spec.classes
        if set(classes) != set(known):
            raise SettingsError(
                f"classes {', '.join(classes)}: this model was trained on {', '.join(known)}",
                hint="omit --classes; only a FiVE model without a linear probe predicts classes from new texts",
            )
        return [known.index(name) for name in classes]

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass from now on, to save memory."""
        self.checkpointing = True

    def text_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that learn at ``lr_text``; none for a model without a text side."""
        return []

    def freeze_text(self) -> None:
        """Stop training the text encoder and the prompts, so that each text is encoded only once."""

    def pretrained_names(self) -> set[str]:
        """Return the names in `state_dict` of the weights that training never changes."""
        return set()

    def learned_state(self) -> dict[str, Tensor]:
        """Return copies on the CPU of all weights and buffers except those of the published text model."""
        pretrained = self.pretrained_names()
        return {
            name: tensor.detach().cpu().clone() for name, tensor in self.state_dict().items() if name not in pretrained
        }

    def state_for_new_labels(self) -> dict[str, Tensor]:
        """Return the weights that a model of the same kind with other labels takes over."""
        return self.state_dict()

    def start_from(self, earlier: BagModel) -> None:
        """Load the weights of ``earlier`` that also serve other labels; the rest of this model stays untrained."""
        self.load_state_dict(earlier.state_for_new_labels(), strict=False)

    def scale_features(self, mean: Tensor, std: Tensor) -> None:
        """Standardize tile features with these statistics, (C,) each, from now on."""
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)

    def scaled(self, features: Tensor) -> Tensor:
        """Return stored features (N, C), standardized per channel, float32."""
        return (features.float() - self.feature_mean) / self.feature_std

    def logits(self, bags: Tensor, classes: Tensor) -> Tensor:
        """Return the scaled dot products of bag vectors (B, D) and class or text vectors (K, D), (B, K)."""
        return self.scale * bags @ classes.T
