"""Build the network of a preset, untrained or with its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.core.errors import EncoderError
from pipelines.encoders.joint_models import (
    PROJECTED,
    JointImageTower,
    load_joint_model,
    model_from_state,
    raise_misfit,
)
from pipelines.encoders.open_clip_models import OpenClipImage, load_open_clip
from pipelines.encoders.own_encoder import build_own
from pipelines.encoders.preset import Preset
from pipelines.encoders.towers import (
    AttentionPool,
    ConchJointTower,
    ConchTower,
    ConvStem,
    KeepTower,
    MuskJointTower,
    PlainAttentionPool,
    TransformersTower,
)
from pipelines.encoders.weights import State, find_weights, fit_weights, read_weights, rename_weights

OWN_LAYERS = {"ConvStem": ConvStem}
"""Layers that presets name and timm lacks."""


def build_network(preset: Preset) -> nn.Module:
    """Return the untrained network of ``preset``, without a classifier.

    Raises
    ------
    EncoderError
        The encoder is a file or a repository, so there is no untrained network.
    """
    if preset.builder not in BUILDERS:
        raise EncoderError(f"{preset.name}: has no untrained network")
    return BUILDERS[preset.builder](preset)


def load_network(preset: Preset, weights: Path | None) -> nn.Module:
    """Return the network of ``preset`` with the given weights file, or with the preset's own weights.

    Raises
    ------
    EncoderError
        The weights are missing, unsafe, or of another network.
    """
    if preset.builder == "python":
        return build_own(preset, weights)
    if preset.builder == "torchscript":
        return _load_torchscript(preset)
    path = find_weights(preset, weights)
    state = rename_weights(read_weights(path), preset)
    if preset.builder == "open_clip":
        return OpenClipImage(load_open_clip(preset, state, path, "image"))
    if preset.embedding == PROJECTED:
        return JointImageTower(load_joint_model(preset, state, path, "image"))
    if preset.builder in ("transformers", "hf"):
        return _load_transformers(preset, state, path)
    with torch.device("meta"):  # skips random initialization, which takes half a minute for a billion weights
        network = build_network(preset)
    if any(buffer.is_meta for buffer in _buffers_without_weights(network)):
        network = build_network(preset)
    fit_weights(network, state, preset, path)
    return network


def _buffers_without_weights(network: nn.Module) -> Iterator[Tensor]:
    """Yield the buffers that are computed when the network is built and are not in a weights file."""
    saved = network.state_dict().keys()
    return (buffer for name, buffer in network.named_buffers() if name not in saved)


def _timm(preset: Preset) -> Any:
    import timm

    options = dict(preset.options)
    for argument in ("mlp_layer", "embed_layer"):
        if argument in options:
            name = options[argument]
            options[argument] = OWN_LAYERS.get(name) or getattr(timm.layers, name)
    return timm.create_model(preset.architecture, pretrained=False, num_classes=0, **options)


def _conch(pool: type[nn.Module]) -> Callable[[Preset], nn.Module]:
    return lambda preset: ConchTower(_timm(preset), preset.dim, pool)


def _with_head(tower: Callable[[Any, int], nn.Module]) -> Callable[[Preset], nn.Module]:
    return lambda preset: tower(_timm(preset), preset.dim)


def _transformers(preset: Preset) -> nn.Module:
    model_class, config = _class_and_config(preset)
    return TransformersTower(model_class(config, **_pooler_arguments(preset)))


BUILDERS: Mapping[str, Callable[[Preset], nn.Module]] = {
    "timm": _timm,
    "transformers": _transformers,
    "conch": _conch(AttentionPool),
    "conch-1.5": _conch(PlainAttentionPool),
    "conch-joint": _with_head(ConchJointTower),
    "musk-joint": _with_head(MuskJointTower),
    "keep": _with_head(KeepTower),
}
"""`Preset.builder` -> function that builds the untrained network.

The builders ``hf`` (any vision model of transformers), ``torchscript`` and ``python`` are missing here,
because their networks can only be loaded."""


def _class_and_config(preset: Preset) -> tuple[Any, Any]:
    """Return a class of transformers and its configuration; for image-text models, those of the image part."""
    import transformers

    if preset.builder == "transformers":
        model_class = getattr(transformers, preset.architecture)
        return model_class, model_class.config_class(**preset.options)
    try:
        config = transformers.AutoConfig.for_model(**preset.options)
        config = getattr(config, "vision_config", config)
        with torch.device("meta"):
            return type(transformers.AutoModel.from_config(config, trust_remote_code=False)), config
    except (KeyError, ValueError, TypeError) as error:
        raise EncoderError(
            f"{preset.name}: transformers {transformers.__version__} does not have this vision model",
            hint="install a newer version, or describe the encoder in your own file: --encoder file.py",
        ) from error


def _pooler_arguments(preset: Preset) -> dict[str, bool]:
    return {"add_pooling_layer": False} if preset.architecture == "ViTModel" else {}


def _load_transformers(preset: Preset, state: State, path: Path) -> nn.Module:
    model_class, config = _class_and_config(preset)
    positions = state.get("embeddings.position_embeddings")
    if preset.builder == "transformers" and positions is not None:
        # The network resizes position embeddings from the image size of the published weights.
        config.image_size = config.patch_size * round((positions.shape[1] - 1) ** 0.5)
    model, info = model_from_state(model_class, config, state, preset, path, **_pooler_arguments(preset))
    missing = {name for name in info["missing_keys"] if "mask_token" not in name}
    unexpected = set(info["unexpected_keys"])
    no_pooler = False
    if preset.builder == "hf":  # unused heads are fine; without pooler weights, use the class token
        pooler = {name for name in missing if name.startswith("pooler.")}
        missing, unexpected, no_pooler = missing - pooler, set(), bool(pooler)
    problems = {"missing": missing, "of another shape": info["mismatched_keys"], "left over": unexpected}
    raise_misfit(preset, path, problems)
    return TransformersTower(model.float(), class_token=no_pooler)


def _load_torchscript(preset: Preset) -> nn.Module:
    path = Path(preset.architecture)
    try:
        with warnings.catch_warnings():  # torch announces a successor format, but users have these files
            warnings.simplefilter("ignore", FutureWarning)
            network: nn.Module = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise EncoderError(
            f"{path}: not a TorchScript file",
            hint="weights alone need the name of their network: --encoder NAME --weights FILE",
        ) from error
    return network
