"""An image encoder: network, weights, preprocessing and embedding rule in one callable."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.errors import EncoderError
from pipelines.core.files import fingerprint
from pipelines.encoders.embeddings import EMBEDDINGS
from pipelines.encoders.networks import load_network
from pipelines.encoders.preset import Preset
from pipelines.encoders.weights import weights_fingerprint

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
CPU_BATCH = 8
"""Tiles per batch on a CPU, because the activations of larger batches do not fit into its caches.

Measured speed on one core relative to batches of 64: EfficientNet-Lite0 2.3 times, ResNet-50 1.3 times,
ViT-S/16 1.15 times."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""Parts of the messages of memory errors; torch raises plain RuntimeErrors for some of them."""


def load_encoder(
    preset: Preset,
    *,
    weights: Path | None = None,
    device: str = "cpu",
    precision: str = "auto",
    compile: bool = False,
) -> Encoder:
    """Build the network of ``preset``, load its weights, and check that it returns finite features.

    Parameters
    ----------
    compile
        Compile the network with torch, which takes about a minute and pays off for many slides.

    Raises
    ------
    EncoderError
        The weights are missing, unsafe or of another network, or the features have an unexpected width.
    """
    network = load_network(preset, weights)
    encoder = Encoder(
        network,
        preset,
        weights_fingerprint=weights_fingerprint(preset, weights),
        device=device,
        precision=precision,
        compile=compile,
    )
    encoder.check()
    return encoder


def encoder_fingerprint(preset: Preset, weights: Path | None = None) -> str:
    """Return `Encoder.fingerprint` without loading the network; only the weights file is read.

    Raises
    ------
    EncoderError
        The weights are missing.
    """
    return fingerprint({**preset.fingerprint_fields(), "weights": weights_fingerprint(preset, weights)})


class Encoder:
    """Turns uint8 tiles into feature vectors.

    B tiles per batch, S pixels per tile edge, D channels.
    """

    def __init__(
        self,
        network: nn.Module,
        preset: Preset,
        *,
        weights_fingerprint: str,
        device: str,
        precision: str,
        compile: bool = False,
    ) -> None:
        self.preset = preset
        self.fingerprint = fingerprint({**preset.fingerprint_fields(), "weights": weights_fingerprint})
        """16 hexadecimal digits that change with the weights, the preprocessing or the embedding rule."""
        self.device = device
        self.precision = _precision(precision, device)
        self.dim = preset.dim
        self.largest_batch: int | None = None
        """Largest batch that fits into memory; None as long as every batch has fit."""
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)
        embed = partial(EMBEDDINGS[preset.embedding], self._network)
        self._embed = _compiled(embed) if compile else embed
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (preset.mean, preset.std))
        self._scale = 1 / (255 * std)
        self._shift = mean / std

    @torch.inference_mode()
    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the features (B, D) of RGB ``tiles`` (B, S, S, 3).

        If a batch does not fit into memory, it is halved; later batches keep the smaller size.

        Raises
        ------
        EncoderError
            A single tile does not fit into memory.
        """
        features: list[NDArray[np.float32]] = []
        batch_size = CPU_BATCH if self.device == "cpu" else max(1, len(tiles))
        start = 0
        while start < len(tiles):
            batch = tiles[start : start + min(batch_size, self.largest_batch or batch_size)]
            try:
                features.append(self._encode(batch))
            except RuntimeError as error:
                self._halve_batch(len(batch), error)
                continue
            start += len(batch)
        return np.concatenate(features) if features else np.empty((0, self.dim), np.float32)

    def check(self) -> None:
        """Encode two gray tiles to set ``dim`` and to detect a broken network before any slide is read.

        Raises
        ------
        EncoderError
            Encoding fails, or the features have an unexpected shape or are not finite.
        """
        size = self.preset.resize
        try:
            features = self(np.full((2, size, size, 3), 128, np.uint8))
        except EncoderError:
            raise
        except Exception as error:  # a network, above all a user's own, can raise anything
            reason = (str(error).strip().splitlines() or [""])[-1]
            raise EncoderError(
                f"{self.preset.name}: encoding a gray tile of {size} pixels failed: {type(error).__name__}: {reason}",
                hint="check that the network accepts pixels (B, 3, S, S) of this size, and the installed versions",
            ) from error
        if features.ndim != 2 or (self.dim and features.shape[1] != self.dim):
            raise EncoderError(
                f"{self.preset.name}: features have shape {features.shape[1:]}, expected ({self.dim},)",
                hint="set `width` of the class to this width"
                if self.preset.builder == "python"
                else "the installed version of timm or transformers may not match this preset",
            )
        if not np.isfinite(features).all():
            raise EncoderError(
                f"{self.preset.name}: features of a gray tile are not finite in {self.precision}",
                hint="try --precision fp32 and check the weights file",
            )
        self.dim = features.shape[1]

    def _encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(tiles).to(self.device).permute(0, 3, 1, 2)  # (B, 3, S, S), channels last
        with self._autocast():
            features = self._embed(self._preprocess(pixels))
        array: NDArray[np.float32] = features.float().cpu().numpy()
        return array

    def _preprocess(self, pixels: Tensor) -> Tensor:
        preset = self.preset
        pixels = pixels.float()
        if pixels.shape[-1] != preset.resize:
            size = (preset.resize, preset.resize)
            pixels = functional.interpolate(pixels, size, mode=preset.interpolation, antialias=True)
            pixels = pixels.round_().clamp_(0, 255)  # as when resizing 8-bit images
        margin = (preset.resize - preset.input_size) // 2
        if margin:
            pixels = pixels[..., margin : margin + preset.input_size, margin : margin + preset.input_size]
        return pixels.mul_(self._scale).sub_(self._shift)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(torch.device(self.device).type, AUTOCAST[self.precision])

    def _halve_batch(self, batch_size: int, error: RuntimeError) -> None:
        """Set ``largest_batch`` to half of ``batch_size`` after a memory error; raise any other error again."""
        if not any(words in str(error).lower() for words in OUT_OF_MEMORY):
            raise error
        if batch_size == 1:
            raise EncoderError(
                f"{self.preset.name}: one tile does not fit into the memory of {self.device}",
                hint="use a smaller encoder, --precision bf16, or --device cpu",
            ) from error
        self.largest_batch = batch_size // 2
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()


def _compiled(embed: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    compiled = torch.compile(embed)

    def run(pixels: Tensor) -> Tensor:
        torch._dynamo.maybe_mark_dynamic(pixels, 0)  # otherwise torch compiles again for every batch size
        return compiled(pixels)

    return run


def _precision(precision: str, device: str) -> str:
    """Return ``precision``, with ``auto`` resolved for ``device``."""
    if precision != "auto":
        return precision
    if not device.startswith("cuda"):
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
