"""An encoder that a user describes in a Python file: one class, ``TileEncoder``. See docs/encoders.md.

The file is a program that its user chose to run, unlike weights, which are data and never run.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pipelines.core.errors import EncoderError
from pipelines.core.files import file_fingerprint
from pipelines.encoders.preset import IMAGENET_MEAN, IMAGENET_STD, Preset

CLASS = "TileEncoder"
SEE = "docs/encoders.md shows a whole example"


def own_preset(path: Path) -> Preset:
    """Return what the class ``TileEncoder`` in ``path`` says of itself; the file is part of the recipe.

    Raises
    ------
    EncoderError
        The file cannot be run, has no such class, or the class leaves out a fact.
    """
    described = _own_class(path.resolve())
    for fact in ("width", "tile_size", "mpp"):
        if not hasattr(described, fact):
            raise EncoderError(f"{path}: {CLASS} has no `{fact}`", hint=f"set it, None for any tile; {SEE}")
    input_size = getattr(described, "input_size", None) or described.tile_size or 224
    return Preset(
        name=path.name,
        architecture=str(path),
        dim=described.width,
        builder="python",
        options={"code": file_fingerprint(path)},
        resize=input_size,
        input_size=input_size,
        interpolation=getattr(described, "interpolation", "bicubic"),
        mean=tuple(getattr(described, "mean", IMAGENET_MEAN)),
        std=tuple(getattr(described, "std", IMAGENET_STD)),
        tile_sizes=_several(described.tile_size),
        mpps=_several(described.mpp),
        card=str(path),
    )


def build_own(preset: Preset, weights: Path | None) -> nn.Module:
    """Return the network of a ``TileEncoder``, made with the path of its weights, or with None.

    Raises
    ------
    EncoderError
        Making it failed; the message says where in the file and why.
    """
    path = Path(preset.architecture)
    described = _own_class(path.resolve())
    try:
        return _Own(described(weights))
    except Exception as error:
        raise _failed(path, error) from error


class _Own(nn.Module):
    """A user's encoder as a network: called with pixels, it gives features."""

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.encoder.encode(pixels)
        return features


@cache
def _own_class(path: Path) -> Any:
    if not path.is_file():
        raise EncoderError(f"{path}: no such file", hint="check --encoder")
    name = f"five_encoder_{file_fingerprint(path)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise EncoderError(f"{path}: not a Python file", hint=SEE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class up there
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _failed(path, error) from error
    described = getattr(module, CLASS, None)
    if not (inspect.isclass(described) and issubclass(described, nn.Module) and hasattr(described, "encode")):
        raise EncoderError(f"{path}: no class {CLASS} of torch.nn.Module with a method encode", hint=SEE)
    return described


def _failed(path: Path, error: Exception) -> EncoderError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    where = f", line {lines[-1]}" if lines else ""
    return EncoderError(f"{path}{where}: {type(error).__name__}: {error}", hint=f"put the file right; {SEE}")


def _several(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)
