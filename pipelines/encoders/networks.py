"""From the facts of an encoder to its network: built untrained, or loaded with its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.core.errors import EncoderError
from pipelines.encoders.preset import Preset
from pipelines.encoders.towers import (
    AttentionPool,
    ConchTower,
    ConvStem,
    KeepTower,
    PlainAttentionPool,
    TransformersTower,
)
from pipelines.encoders.weights import State, arrange, find_weights, fit_weights, misfit, read_weights

OWN_LAYERS = {"ConvStem": ConvStem}


def build_network(preset: Preset) -> nn.Module:
    """Return the untrained network of ``preset``, without a classifier.

    Raises
    ------
    EncoderError
        The encoder is a file or a repository, and has no untrained form.
    """
    if preset.builder not in BUILDERS:
        raise EncoderError(f"{preset.name}: has no untrained network")
    return BUILDERS[preset.builder](preset)


def load_network(preset: Preset, weights: Path | None) -> nn.Module:
    """Return the network of ``preset`` with ``weights``, or with its own.

    Raises
    ------
    EncoderError
        The weights are missing, unsafe, or of another network.
    """
    if preset.builder == "python":
        from pipelines.encoders.own_encoder import build_own

        return build_own(preset, weights)
    if preset.builder == "torchscript":
        return _load_script(preset)
    path = find_weights(preset, weights)
    state = arrange(read_weights(path), preset)
    if preset.builder in ("transformers", "hf"):
        return _load_transformers(preset, state, path)
    with torch.device("meta"):  # random numbers for a billion weights would take half a minute
        network = build_network(preset)
    if any(buffer.is_meta for buffer in _computed(network)):
        network = build_network(preset)
    fit_weights(network, state, preset, path)
    return network


def _computed(network: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that no file of weights holds."""
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


def _keep(preset: Preset) -> nn.Module:
    return KeepTower(_timm(preset), preset.dim)


def _transformers(preset: Preset) -> nn.Module:
    model_class, config = _model_class(preset)
    return TransformersTower(model_class(config, **_no_pooler(preset)))


BUILDERS: Mapping[str, Callable[[Preset], nn.Module]] = {
    "timm": _timm,
    "transformers": _transformers,
    "conch": _conch(AttentionPool),
    "conch-1.5": _conch(PlainAttentionPool),
    "keep": _keep,
}
"""By `Preset.builder`. ``hf`` (any vision model of transformers), ``torchscript`` and ``python`` are loaded only."""


def _model_class(preset: Preset) -> tuple[Any, Any]:
    """Return a class of transformers and its configuration; of a model of images and text, the image part."""
    import transformers

    if preset.builder == "transformers":
        model_class = getattr(transformers, preset.architecture)
        return model_class, model_class.config_class(**preset.options)
    try:
        config = transformers.AutoConfig.for_model(**preset.options)
        config = getattr(config, "vision_config", config)
        with torch.device("meta"):
            return type(transformers.AutoModel.from_config(config)), config
    except (KeyError, ValueError, TypeError) as error:
        raise EncoderError(
            f"{preset.name}: transformers {transformers.__version__} has no such vision model",
            hint="install a newer one, or describe the encoder in your own file: --encoder file.py",
        ) from error


def _no_pooler(preset: Preset) -> dict[str, bool]:
    return {"add_pooling_layer": False} if preset.architecture == "ViTModel" else {}


def _load_transformers(preset: Preset, state: State, path: Path) -> nn.Module:
    """Let transformers fit the weights: it knows the names that its older versions published under."""
    from transformers.utils import logging

    model_class, config = _model_class(preset)
    positions = state.get("embeddings.position_embeddings")
    if preset.builder == "transformers" and positions is not None:
        # Published at the size the network was trained at, from which it resizes them.
        config.image_size = config.patch_size * round((positions.shape[1] - 1) ** 0.5)
    logging.set_verbosity_error()  # what does not fit is told below, once
    logging.disable_progress_bar()
    try:
        model, info = model_class.from_pretrained(
            None, config=config, state_dict=state, output_loading_info=True, **_no_pooler(preset)
        )
    except (RuntimeError, ValueError) as error:
        raise misfit(preset, path, str(error).splitlines()[0]) from error
    missing = {name for name in info["missing_keys"] if "mask_token" not in name}
    unexpected = set(info["unexpected_keys"])
    no_pooler = False
    if preset.builder == "hf":  # any head may be left over; without weights of a pooler, the class token is it
        pooler = {name for name in missing if name.startswith("pooler.")}
        missing, unexpected, no_pooler = missing - pooler, set(), bool(pooler)
    for names, what in ((missing, "missing"), (info["mismatched_keys"], "of another shape"), (unexpected, "left over")):
        if names:
            raise misfit(preset, path, f"{len(names)} weights {what}, first {min(map(str, names))}")
    return TransformersTower(model.float(), class_token=no_pooler)


def _load_script(preset: Preset) -> nn.Module:
    path = Path(preset.architecture)
    try:
        with warnings.catch_warnings():  # torch announces another format; these files are what people have
            warnings.simplefilter("ignore", FutureWarning)
            network: nn.Module = torch.jit.load(path, map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise EncoderError(
            f"{path}: not a TorchScript file",
            hint="weights alone need the name of their network: --encoder NAME --weights FILE",
        ) from error
    return network
