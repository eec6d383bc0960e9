"""The FiVE model: bags of tiles and texts to embeddings that can be compared."""

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

LARGEST_SCALE = 100.0
"""Bound of a learned logit scale, as in CLIP."""
GRID_START = 0.1
"""First weight of the grid encoding: tissue first, place as far as it helps."""

SHARPNESS = 4.0
"""Of the log-mean-exp of the tiles, whose channels have a spread of about 0.6 at the start."""
EXACT_UP_TO: Mapping[str, int | None] = {"exact": None, "linear": 0, "auto": 8192}
"""Tiles of a bag up to which self-attention is exact, by setting."""


class FiveModel(BagModel):
    """FiVE: an instance aggregator guided by prompts, and a text encoder.

    B bags, N tiles of a bag, P prompts, M texts, K classes, C channels of the image encoder, D of the model.
    """

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.text = TextEncoder(settings)
        self.prompts = Prompts(tuple(spec.questions.values()), settings, self.text)
        same = spec.feature_dim == settings.width
        self.input: nn.Module = nn.Identity() if same else nn.Linear(spec.feature_dim, settings.width)
        released = settings.padding == "released"
        self.fusion = TileFusion(
            settings.width,
            cross_residual=settings.cross_residual,
            pad_key=released,
            exact_up_to=EXACT_UP_TO[settings.attention],
            sharpness=SHARPNESS if settings.tile_pooling == "log-mean-exp" else None,
        )
        learned = settings.learn_scale
        self.log_scale = nn.Parameter(torch.tensor(math.log(settings.logit_scale)), requires_grad=learned)
        self.grid_weight = nn.Parameter(torch.tensor(GRID_START)) if settings.positions == "grid" else None

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Question ids, then the names of the learnable prompts."""
        return (*self.spec.questions, *self.prompts.names)

    @property
    def vector_width(self) -> int:
        """Channels of the model."""
        return self.settings.width

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the weights of the text model."""
        return self.text.fingerprint

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the text model reads."""
        return self.text.count_truncated(texts)

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return the prompts of the kept (default all) questions and the learnable ones, (P, D) of length 1."""
        prompts: Tensor = self.prompts(self.text, range(len(self.spec.questions)) if kept is None else kept)
        return prompts

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one vector a text, (M, D) of length 1."""
        return functional.normalize(self.text(texts), dim=-1)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return one vector a class, (K, D): the mean direction of its texts, less what the classes share.

        Of plain class texts the vectors have length 1; otherwise two are 1 apart in the root mean square.
        """
        vectors = self.encode_texts([text for texts in classes.values() for text in texts])
        groups = vectors.split([len(texts) for texts in classes.values()])
        directions = functional.normalize(torch.stack([group.mean(dim=0) for group in groups]), dim=-1)
        return directions if self.settings.class_texts == "plain" else apart(directions)

    def checkpoint_activations(self) -> None:
        """Compute the activations of each bag, and of each layer of the text model, again in the backward pass."""
        super().checkpoint_activations()
        text = self.text.model  # transformers before 5 have the second name only
        enable = getattr(text, "activation_checkpointing_enable", None) or text.gradient_checkpointing_enable
        enable({"use_reentrant": False})

    def freeze_text(self) -> None:
        """Stop learning on the text side: texts and prompts stay as they are and are encoded once only."""
        self.text.freeze()
        self.prompts.requires_grad_(requires_grad=False)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector a bag, (B, D) of length 1."""
        if self.checkpointing and self.training and len(bags) > 1:
            return torch.cat([checkpoint(self._encode, [bag], prompts, use_reentrant=False) for bag in bags])
        return self._encode(bags, prompts)

    def _encode(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        tiles, positions, pads = self._inputs(bags)
        return functional.normalize(
            self.fusion(tiles, positions, [len(bag.features) for bag in bags], prompts, pads), dim=-1
        )

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, D), and what each prompt looks at, (P, N); rows sum to 1."""
        tiles, positions, pads = self._inputs([bag])
        lengths = [len(tiles)]
        mixed = self.fusion.mix(tiles, positions, lengths, pads)
        vector = functional.normalize(self.fusion.pool(mixed, positions, lengths, prompts), dim=-1)
        return vector, self.fusion.attention(mixed, positions, prompts)

    @property
    def scale(self) -> Tensor:
        """Factor of the cosines, a scalar."""
        if self.settings.learn_scale:
            return self.log_scale.exp().clamp(max=LARGEST_SCALE)
        return self.log_scale.exp()

    def _inputs(self, bags: Sequence[TileBag]) -> tuple[Tensor, Tensor, Pads | None]:
        with torch.autocast(self.device.type, enabled=False):  # it refuses float16 features where it makes bfloat16
            features = torch.cat([bag.features.to(self.device) for bag in bags])
        tiles = in_blocks(lambda block: self.input(self.scaled(block)), features)  # (S, D)
        pads = self._pads(bags) if self.settings.padding == "released" else None
        return tiles, self._positions(bags, tiles), pads

    def _positions(self, bags: Sequence[TileBag], tiles: Tensor) -> Tensor:
        if self.grid_weight is not None:
            places = torch.cat([bag.places for bag in bags]).to(self.device)
            return self.grid_weight * grid_encoding(places, self.settings.width)
        if self.settings.positions == "sequence":
            progress = torch.cat([bag.file_position for bag in bags]).to(self.device)
            return sequence_encoding(progress, self.settings.width)
        return torch.zeros_like(tiles)

    def _pads(self, bags: Sequence[TileBag]) -> Pads:
        progress = torch.tensor([bag.pad_position for bag in bags], device=self.device)
        encoding = sequence_encoding(progress, self.settings.width)
        if self.settings.positions != "sequence":
            encoding = torch.zeros_like(encoding)
        counts = [max(0, self.settings.padded_length - len(bag.features)) for bag in bags]
        return Pads(encoding, counts)


def apart(vectors: Tensor) -> Tensor:
    """Return vectors (K, D) less their mean, scaled so that two are 1 apart in the root mean square.

    Classes whose vectors are all the same stay at zero.
    """
    centred = vectors - vectors.mean(dim=0)
    square = 2 * centred.square().sum() / max(1, len(vectors) - 1)  # the mean square distance of two of K
    return centred / square.sqrt().clamp(min=1e-6)
