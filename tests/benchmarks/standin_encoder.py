"""A STAND-IN for a joint encoder of images and texts, for tests, demo and study. Not a pathology model.

The packaged EfficientNet-Lite0 (ImageNet) and the packaged MiniLM-L6 meet in the space of MiniLM's texts: a linear map,
fitted to the captions of a few tiles, takes image features there. ``tests/benchmarks/joint_standin.py`` writes this
file with its numbers beside it.

five embed tiles -o features --encoder joint_standin.py
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional

from pipelines.core.files import file_fingerprint
from pipelines.core.text_models import PACKAGED, load_text_model, mean_of_tokens
from pipelines.encoders.networks import load_network
from pipelines.encoders.presets import ENCODER_PRESETS

NUMBERS = Path(__file__).with_suffix(".safetensors")
FINGERPRINT = ""  # of the numbers; makes them a part of the encoder's fingerprint
IMAGES = ENCODER_PRESETS["efficientnet-lite0-imagenet"]


def numbers(weights: Path | None) -> dict[str, torch.Tensor]:
    """Return ``image_mean``, ``map``, ``text_mean`` and ``logit_scale``."""
    path = weights or NUMBERS
    if weights is None and file_fingerprint(path) != FINGERPRINT:
        raise ValueError(f"{path.name} is not the file that was written with {Path(__file__).name}")
    return load_file(path)


class TileEncoder(torch.nn.Module):
    """EfficientNet-Lite0, mapped to the space of MiniLM's texts: 384 features per tile, L2-normalized."""

    width = 384
    tile_size = None
    mpp = None
    input_size = IMAGES.input_size
    interpolation = IMAGES.interpolation
    mean = IMAGES.mean
    std = IMAGES.std

    def __init__(self, weights: Path | None) -> None:
        """Load the packaged network and the map."""
        super().__init__()
        self.network = load_network(IMAGES, None)
        values = numbers(weights)
        self.register_buffer("image_mean", values["image_mean"])
        self.register_buffer("map", values["map"])

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Return features (B, 384) of normalized pixels (B, 3, 224, 224)."""
        return functional.normalize((self.network(batch).float() - self.image_mean) @ self.map, dim=-1)


class TextEncoder(torch.nn.Module):
    """MiniLM-L6, relative to the mean of the captions."""

    context_length = 256

    def __init__(self, weights: Path | None) -> None:
        """Load the packaged text model."""
        super().__init__()
        self.model, self.tokenizer = load_text_model(PACKAGED)
        values = numbers(weights)
        self.logit_scale = values["logit_scale"].item()
        self.register_buffer("text_mean", values["text_mean"])

    def n_tokens(self, texts: list[str]) -> list[int]:
        """Return the number of tokens of each text, with the special tokens."""
        return [len(ids) for ids in self.tokenizer(texts)["input_ids"]]

    def encode(self, texts: list[str]) -> torch.Tensor:
        """Return the vectors (M, 384) of ``texts``."""
        tokens = self.tokenizer(texts, padding=True, return_tensors="pt").to(self.text_mean.device)
        states = self.model(**tokens).last_hidden_state
        vectors = functional.normalize(mean_of_tokens(states, tokens["attention_mask"]), dim=-1)
        return vectors - self.text_mean
