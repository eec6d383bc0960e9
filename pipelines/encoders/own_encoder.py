"""Encoders that users define in a Python file, as classes ``TileEncoder`` and ``TextEncoder``. See docs/encoders.md.

Users choose to run this file. Weights, in contrast, are data and are never executed.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from pipelines.core.errors import EncoderError
from pipelines.core.files import file_fingerprint
from pipelines.encoders.preset import IMAGENET_MEAN, IMAGENET_STD, Preset, TextPreset

CLASS_NAME, TEXT_CLASS_NAME = "TileEncoder", "TextEncoder"
TEXT_MEMBERS = ("context_length", "n_tokens", "encode")
"""What the class ``TextEncoder`` must have; its objects also have ``logit_scale``."""
DOCS = "see the example in docs/encoders.md"


def own_preset(path: Path) -> Preset:
    """Return the preset that the class ``TileEncoder`` in ``path`` describes.

    The fingerprint of the file becomes part of the encoder's fingerprint. A class ``TextEncoder`` in the same file
    is the text tower of the encoder.

    Raises
    ------
    EncoderError
        The file cannot be run, has no such class, or the class lacks an attribute.
    """
    encoder_class, text_class = _own_class(path.resolve()), _own_text_class(path.resolve())
    for attribute in ("width", "tile_size", "mpp"):
        if not hasattr(encoder_class, attribute):
            raise EncoderError(
                f"{path}: {CLASS_NAME} has no `{attribute}`",
                hint=f"set it; tile_size and mpp may be None for any tiles; {DOCS}",
            )
    for attribute in TEXT_MEMBERS if text_class else ():
        if not hasattr(text_class, attribute):
            raise EncoderError(f"{path}: {TEXT_CLASS_NAME} has no `{attribute}`", hint=f"add it; {DOCS}")
    if text_class and not (isinstance(text_class.context_length, int) and text_class.context_length > 0):
        raise EncoderError(
            f"{path}: {TEXT_CLASS_NAME}.context_length is no positive number", hint=f"correct it; {DOCS}"
        )
    input_size = getattr(encoder_class, "input_size", None) or encoder_class.tile_size or 224
    return Preset(
        name=path.name,
        architecture=str(path),
        dim=encoder_class.width,
        builder="python",
        options={"code": file_fingerprint(path)},
        resize=input_size,
        input_size=input_size,
        interpolation=getattr(encoder_class, "interpolation", "bicubic"),
        mean=tuple(getattr(encoder_class, "mean", IMAGENET_MEAN)),
        std=tuple(getattr(encoder_class, "std", IMAGENET_STD)),
        tile_sizes=_as_tuple(encoder_class.tile_size),
        mpps=_as_tuple(encoder_class.mpp),
        card=str(path),
        text=TextPreset("python", text_class.context_length) if text_class else None,
    )


def build_own(preset: Preset, weights: Path | None) -> nn.Module:
    """Return a ``TileEncoder``, made with the path of its weights or None, as a network.

    Raises
    ------
    EncoderError
        The constructor failed; the message gives the line and the reason.
    """
    path = Path(preset.architecture)
    encoder_class = _own_class(path.resolve())
    try:
        return _OwnNetwork(encoder_class(weights))
    except Exception as error:
        raise _error_in_file(path, error) from error


def build_own_text(preset: Preset, weights: Path | None, device: str) -> OwnText:
    """Return a ``TextEncoder``, made with the path of its weights or None.

    Raises
    ------
    EncoderError
        The constructor failed; the message gives the line and the reason.
    """
    path = Path(preset.architecture).resolve()
    text_class = _own_text_class(path)
    try:
        encoder = text_class(weights)
        return OwnText(encoder.eval().to(device) if isinstance(encoder, nn.Module) else encoder, path)
    except Exception as error:
        raise _error_in_file(path, error) from error


class OwnText:
    """Wraps a user's ``TextEncoder``, so that its errors name the file and the line."""

    def __init__(self, encoder: Any, path: Path) -> None:
        self.context_length = int(encoder.context_length)
        self.logit_scale = float(encoder.logit_scale)
        self._encoder, self._path = encoder, path

    def n_tokens(self, texts: list[str]) -> list[int]:
        """Return the number of tokens of each text."""
        return list(self._checked(self._encoder.n_tokens, texts))

    def encode(self, texts: list[str]) -> Tensor:
        """Return the vectors (M, D) of ``texts``."""
        vectors = self._checked(self._encoder.encode, texts)
        if not isinstance(vectors, Tensor) or vectors.ndim != 2:
            raise EncoderError(
                f"{self._path}: {TEXT_CLASS_NAME}.encode must return a tensor (texts, width)",
                hint=f"correct it; {DOCS}",
            )
        return vectors

    def _checked(self, method: Any, texts: list[str]) -> Any:
        try:
            values = method(texts)
        except Exception as error:
            raise _error_in_file(self._path, error) from error
        if len(values) != len(texts):
            raise EncoderError(
                f"{self._path}: {TEXT_CLASS_NAME}.{method.__name__} gave {len(values)} values for {len(texts)} texts",
                hint=f"return one per text; {DOCS}",
            )
        return values


class _OwnNetwork(nn.Module):
    """Wraps a user's encoder so that calling it with pixels returns features."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.encoder.encode(pixels)
        return features


def _own_class(path: Path) -> Any:
    encoder_class = getattr(_own_module(path), CLASS_NAME, None)
    if not (
        inspect.isclass(encoder_class) and issubclass(encoder_class, nn.Module) and hasattr(encoder_class, "encode")
    ):
        raise EncoderError(
            f"{path}: no class {CLASS_NAME} that extends torch.nn.Module and has a method encode", hint=DOCS
        )
    return encoder_class


def _own_text_class(path: Path) -> Any:
    """Return the class ``TextEncoder`` in ``path``; None if there is none."""
    text_class = getattr(_own_module(path), TEXT_CLASS_NAME, None)
    return text_class if inspect.isclass(text_class) else None


@cache
def _own_module(path: Path) -> ModuleType:
    if not path.is_file():
        raise EncoderError(
            f"{path}: no such file",
            hint="check --encoder; if features were made with this file, put it back there, or embed the slides again",
        )
    name = f"five_encoder_{file_fingerprint(path)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise EncoderError(f"{path}: not a Python file", hint=DOCS)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look classes up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _error_in_file(path, error) from error
    return module


def _error_in_file(path: Path, error: Exception) -> EncoderError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    where = f", line {lines[-1]}" if lines else ""
    return EncoderError(f"{path}{where}: {type(error).__name__}: {error}", hint=f"correct the file; {DOCS}")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
