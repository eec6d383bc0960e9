"""The text tower of an image encoder: texts become vectors in the space of its image features."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipelines.core.errors import EncoderError, FiveError, SettingsError
from pipelines.encoders.encoder import encoder_fingerprint
from pipelines.encoders.preset import Preset
from pipelines.encoders.presets import ENCODER_PRESETS

BATCH_SIZE = 32
"""Texts per pass through the network."""


class TextModel(Protocol):
    """What a text tower needs: a tokenizer that counts, and a network.

    M texts, D channels of the shared space.
    """

    @property
    def context_length(self) -> int:
        """Largest number of tokens of a text, with the special tokens."""
        ...

    @property
    def logit_scale(self) -> float:
        """Factor of the cosines of tiles and texts."""
        ...

    def n_tokens(self, texts: list[str]) -> Sequence[int]:
        """Return the number of tokens of each text, with the special tokens."""
        ...

    def encode(self, texts: list[str]) -> Tensor:
        """Return the vectors (M, D) of texts that fit."""
        ...


class TextTower:
    """Turns texts into L2-normalized vectors in the space of an encoder's image features.

    M texts, D channels.
    """

    def __init__(self, model: TextModel, name: str, *, space: str) -> None:
        self.name = name
        """Name of the encoder."""
        self.space = space
        """Name of the shared space, as in the feature files of the encoder."""
        self.logit_scale = float(model.logit_scale)
        """Factor of the cosines of tiles and texts that the encoder learned."""
        self.context_length = int(model.context_length)
        """Largest number of tokens of a text, with the special tokens."""
        self._model = model
        self.dim = 0
        self.dim = self(["tumor"]).shape[1]
        """D, width of a vector."""

    def n_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, with the special tokens; no text is cut."""
        return [int(number) for number in self._model.n_tokens(list(texts))] if texts else []

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of ``texts``, (M, D), with L2 norm 1.

        Raises
        ------
        SettingsError
            A text has more tokens than the encoder reads. No text is cut.
        EncoderError
            The vectors are not finite.
        """
        self._refuse_long(texts)
        batches = [list(texts[start : start + BATCH_SIZE]) for start in range(0, len(texts), BATCH_SIZE)]
        vectors = [functional.normalize(self._model.encode(batch).float(), dim=-1).cpu().numpy() for batch in batches]
        found: NDArray[np.float32] = np.concatenate(vectors) if vectors else np.empty((0, self.dim), np.float32)
        if not np.isfinite(found).all():
            raise EncoderError(f"{self.name}: vectors of texts are not finite", hint="check the weights file")
        return found

    def _refuse_long(self, texts: Sequence[str]) -> None:
        for number, n_tokens in enumerate(self.n_tokens(texts), start=1):
            if n_tokens > self.context_length:
                which = f"text {number} of {len(texts)}" if len(texts) > 1 else "the text"
                raise SettingsError(
                    f"{which} has {n_tokens} tokens, but {self.context_length} fit into the text tower of {self.name}",
                    hint="shorten the text, or divide it into several texts; texts are never cut",
                )


def load_text_tower(preset: Preset, *, weights: Path | None = None, device: str = "cpu") -> TextTower:
    """Return the text tower of ``preset``. Its weights are in the weights file of the image encoder.

    Raises
    ------
    EncoderError
        The encoder has no text tower, or its weights or tokenizer are missing, damaged or of another encoder.
    """
    text = preset.text
    if text is None:
        known = ", ".join(name for name, each in ENCODER_PRESETS.items() if each.text)
        raise EncoderError(
            f"{preset.name} has no text tower",
            hint=f"these have one: {known}, hf:REPOSITORY of a CLIP or SigLIP model, open_clip:NAME, "
            "and a file.py with a class TextEncoder",
        )
    model: TextModel
    if text.builder == "python":
        from pipelines.encoders.own_encoder import build_own_text

        model = build_own_text(preset, weights, device)
    else:
        from pipelines.encoders.text_networks import load_token_model

        model = load_token_model(preset, text, weights, device)
    try:
        tower = TextTower(model, preset.name, space=preset.space(encoder_fingerprint(preset, weights)))
    except FiveError:
        raise
    except Exception as error:  # the networks of hubs can raise anything
        reason = (str(error).strip().splitlines() or [""])[-1]
        raise EncoderError(
            f"{preset.name}: encoding a text failed: {type(error).__name__}: {reason}",
            hint="this kind of text tower may not be supported; describe it in your own file: --encoder file.py",
        ) from error
    if preset.dim and tower.dim != preset.dim:
        raise EncoderError(
            f"{preset.name}: vectors of texts have {tower.dim} channels, but features of tiles {preset.dim}",
            hint="check the weights file, and the class TextEncoder of an own encoder",
        )
    return tower
