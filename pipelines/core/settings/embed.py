"""Settings of ``five embed``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.core.settings.base import Settings, require

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DTYPES = ("float16", "float32")
PICTURE_FORMATS = ("jpg", "webp")


@dataclass(frozen=True)
class EmbedSettings(Settings):
    """The image encoder, and how its features are computed and kept."""

    encoder: str = "efficientnet-lite0-imagenet"
    """The encoder: a name of ``five embed --list-encoders``, ``timm:NAME``, ``hf:REPOSITORY``, or a file."""
    weights: Path | None = None
    """Weights file (safetensors or a PyTorch state dict) instead of the encoder's own."""
    precision: str = "auto"
    """Arithmetic: ``fp32``, ``bf16``, ``fp16``; ``auto`` is fp32 but on CUDA, where it is bf16 or else fp16."""
    dtype: str = "float16"
    """Type of the stored features: ``float16`` or ``float32``."""
    allow_mismatch: bool = False
    """Encode tiles of another size or mpp than the encoder was trained for."""

    def __post_init__(self) -> None:
        require(
            self.precision in PRECISIONS,
            f"precision: {self.precision!r} is not known",
            hint=f"use one of {', '.join(PRECISIONS)}",
        )
        require(self.dtype in DTYPES, f"dtype: {self.dtype!r} is not known", hint=f"use one of {', '.join(DTYPES)}")


@dataclass(frozen=True)
class PictureSettings(Settings):
    """How the tiles themselves are kept as pictures, for those who need them."""

    format: str
    """Format of the pictures: ``jpg`` or ``webp``."""
    quality: int = 90
    """Quality of the pictures, 1 to 100."""

    def __post_init__(self) -> None:
        known = " or ".join(PICTURE_FORMATS)
        require(self.format in PICTURE_FORMATS, f"save_patches: {self.format!r} is not known", hint=f"use {known}")
        require(1 <= self.quality <= 100, f"patch_quality: {self.quality} is not within 1 to 100")
