"""Settings of ``five embed``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pipelines.core.settings.base import Settings
from pipelines.core.settings.fields import Limits

EncoderPrecision = Literal["auto", "fp32", "bf16", "fp16"]
FeatureType = Literal["float16", "float32"]
PictureFormat = Literal["jpg", "webp"]


@dataclass(frozen=True)
class EmbedSettings(Settings):
    """The image encoder, and how its features are computed and stored."""

    encoder: str = "efficientnet-lite0-imagenet"
    """Image encoder: a name from `five embed --list-encoders`, timm:NAME, hf:REPOSITORY, open_clip:NAME,
    torchscript:FILE or your own file.py."""
    weights: Path | None = None
    """Weights file (safetensors or PyTorch state dict) to use instead of the encoder's own weights."""
    precision: EncoderPrecision = "auto"
    """Floating-point precision of the encoder; ``auto`` is bf16 (or else fp16) on CUDA and fp32 elsewhere."""
    dtype: FeatureType = "float16"
    """Number type of the stored features; ``float32`` doubles the size of the files."""
    allow_mismatch: bool = False
    """Encode tiles even if the encoder was trained on another tile size or resolution."""


@dataclass(frozen=True)
class PictureSettings(Settings):
    """How the tiles themselves are saved as pictures."""

    format: PictureFormat
    """Also save the tiles as pictures of this format: patches/<slide_id>.zip with files <x>_<y>.jpg or .webp."""
    quality: Annotated[int, Limits(min=1, max=100)] = 90
    """Quality of the saved pictures; only used with --save-patches."""
