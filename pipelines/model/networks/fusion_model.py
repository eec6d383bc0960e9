"""The published FiVE network (CVPR 2024, arXiv 2402.19326): embed bags of tiles and texts in one space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.fusion import Pads, TileFusion, in_blocks
from pipelines.model.networks.positions import grid_encoding, sequence_encoding
from pipelines.model.networks.prompts import Prompts
from pipelines.model.networks.text_encoder import TextEncoder

MAX_LOGIT_SCALE = 100.0
"""Upper bound of a learned logit scale, as in CLIP."""
INITIAL_GRID_WEIGHT = 0.1
"""Initial weight of the grid encoding; small, so that tissue counts more than position at first."""
SHARPNESS = 4.0
"""Sharpness of the log-mean-exp over tiles; at initialization their channels have a standard deviation of about 0.6."""
EXACT_UP_TO: Mapping[str, int | None] = {"exact": None, "linear": 0, "auto": 8192}
"""Setting -> largest bag (tiles) with exact self-attention; None for any size."""


class FusionModel(BagModel):
    """The published FiVE: an instance aggregator guided by prompts, and a text encoder.

    B bags, N tiles per bag, S tiles in all bags, P prompts, M texts, K classes, C channels of the image encoder,
    D channels of the model.
    """

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.text = TextEncoder(settings)
        self.prompts = Prompts(tuple(spec.questions.values()), settings, self.text)
        same_width = spec.feature_dim == settings.width
        self.input: nn.Module = nn.Identity() if same_width else nn.Linear(spec.feature_dim, settings.width)
        released = settings.padding == "released"
        self.fusion = TileFusion(
            settings.width,
            cross_residual=settings.cross_residual,
            pad_key=released,
            exact_up_to=EXACT_UP_TO[settings.attention],
            sharpness=SHARPNESS if settings.tile_pooling == "log-mean-exp" else None,
        )
        log_scale = torch.tensor(math.log(settings.logit_scale))
        self.log_scale = nn.Parameter(log_scale, requires_grad=settings.learn_scale)
        self.grid_weight = nn.Parameter(torch.tensor(INITIAL_GRID_WEIGHT)) if settings.positions == "grid" else None

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Ids of the questions, then names of the learnable prompts."""
        return (*self.spec.questions, *self.prompts.names)

    @property
    def vector_width(self) -> int:
        """D, channels of the model."""
        return self.settings.width

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the weights of the text model."""
        return self.text.fingerprint

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the text model's token limit."""
        return self.text.count_truncated(texts)

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return the prompts of the kept questions (default all) and the learnable ones, (P, D), L2-normalized."""
        prompts: Tensor = self.prompts(self.text, range(len(self.spec.questions)) if kept is None else kept)
        return prompts

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one vector per text, (M, D), L2-normalized."""
        return functional.normalize(self.text(texts), dim=-1)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return one vector per class, (K, D): the normalized mean of the vectors of its texts.

        Unless ``class_texts`` is plain, the vectors are then centered and scaled by `center_classes`.
        """
        vectors = self.encode_texts([text for texts in classes.values() for text in texts])
        groups = vectors.split([len(texts) for texts in classes.values()])
        directions = functional.normalize(torch.stack([group.mean(dim=0) for group in groups]), dim=-1)
        return directions if self.settings.class_texts == "plain" else center_classes(directions)

    def checkpoint_activations(self) -> None:
        """Recompute the activations of each bag and text-model layer in the backward pass, to save memory."""
        super().checkpoint_activations()
        text = self.text.model  # before version 5, transformers has only the second name
        enable = getattr(text, "activation_checkpointing_enable", None) or text.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    def text_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that learn at ``lr_text``: those of the text encoder and of the prompts."""
        return [*self.text.parameters(), *self.prompts.parameters()]

    def pretrained_names(self) -> set[str]:
        """Return the names of the weights that training never changes."""
        return {f"text.{name}" for name in self.text.pretrained_names}

    def freeze_text(self) -> None:
        """Freeze the text encoder and the prompts; each text is then encoded only once."""
        self.text.freeze()
        self.prompts.requires_grad_(requires_grad=False)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector per bag, (B, D), L2-normalized."""
        if self.checkpointing and self.training and len(bags) > 1:
            return torch.cat([checkpoint(self._encode, [bag], prompts, use_reentrant=False) for bag in bags])
        return self._encode(bags, prompts)

    def _encode(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        tiles, positions, pads = self._inputs(bags)
        return functional.normalize(
            self.fusion(tiles, positions, [len(bag.features) for bag in bags], prompts, pads), dim=-1
        )

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, D), and the attention of the prompts, (P, N); rows sum to 1."""
        tiles, positions, pads = self._inputs([bag])
        lengths = [len(tiles)]
        mixed = self.fusion.mix(tiles, positions, lengths, pads)
        vector = functional.normalize(self.fusion.pool(mixed, positions, lengths, prompts), dim=-1)
        return vector, self.fusion.attention(mixed, positions, prompts)

    @property
    def scale(self) -> Tensor:
        """Factor applied to the cosine similarities, a scalar."""
        if self.settings.learn_scale:
            return self.log_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        return self.log_scale.exp()

    def _inputs(self, bags: Sequence[TileBag]) -> tuple[Tensor, Tensor, Pads | None]:
        with torch.autocast(self.device.type, enabled=False):  # bfloat16 autocast fails on float16 features
            features = torch.cat([bag.features.to(self.device) for bag in bags])
        tiles = in_blocks(lambda block: self.input(self.scaled(block)), features)  # (S, D)
        pads = self._pads(bags) if self.settings.padding == "released" else None
        return tiles, self._positions(bags, tiles), pads

    def _positions(self, bags: Sequence[TileBag], tiles: Tensor) -> Tensor:
        if self.grid_weight is not None:
            grid_position = torch.cat([bag.grid_position for bag in bags]).to(self.device)
            return self.grid_weight * grid_encoding(grid_position, self.settings.width)
        if self.settings.positions == "sequence":
            file_position = torch.cat([bag.file_position for bag in bags]).to(self.device)
            return sequence_encoding(file_position, self.settings.width)
        return torch.zeros_like(tiles)

    def _pads(self, bags: Sequence[TileBag]) -> Pads:
        pad_position = torch.tensor([bag.pad_position for bag in bags], device=self.device)
        encoding = sequence_encoding(pad_position, self.settings.width)
        if self.settings.positions != "sequence":
            encoding = torch.zeros_like(encoding)
        counts = [max(0, self.settings.padded_length - len(bag.features)) for bag in bags]
        return Pads(encoding, counts)


def center_classes(vectors: Tensor) -> Tensor:
    """Subtract the mean from class vectors (K, D) and scale them to a unit root-mean-square distance.

    The distance is taken over all pairs of classes. Equal vectors become zero.
    """
    centered = vectors - vectors.mean(dim=0)
    mean_square_distance = 2 * centered.square().sum() / max(1, len(vectors) - 1)
    return centered / mean_square_distance.sqrt().clamp(min=1e-6)
