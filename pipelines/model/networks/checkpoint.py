"""A trained model on disk: ``config.yaml`` and ``model.safetensors``, nothing that runs code when read.

Stored are the weights that training changed. The frozen text model is named and fingerprinted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.core.errors import ArtifactError
from pipelines.core.files import replacing
from pipelines.core.settings import load_settings
from pipelines.core.settings.model import ModelSettings
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.build import build_model

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
VERSION = 3


def learned_state(model: BagModel) -> dict[str, Tensor]:
    """Return copies of all weights and buffers but those of the text model, of which only the adapters are."""
    return {
        name: weight.detach().cpu().clone()
        for name, weight in model.state_dict().items()
        if "text.model." not in name or "lora_" in name
    }


def load_learned(model: BagModel, state: Mapping[str, Tensor], source: object) -> None:
    """Put stored weights into ``model``.

    Raises
    ------
    ArtifactError
        A weight is missing, unknown, or of another shape.
    """
    expected = learned_state(model)
    wrong = [f"{name} is missing" for name in expected.keys() - state.keys()]
    wrong += [f"{name} is unknown" for name in state.keys() - expected.keys()]
    wrong += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & state.keys()
        if state[name].shape != expected[name].shape
    ]
    if wrong:
        raise ArtifactError(
            f"{source}: does not fit the model of its {CONFIG}: {sorted(wrong)[0]} ({len(wrong)} such)",
            hint="the two files come from different runs; train again",
        )
    model.load_state_dict(dict(state), strict=False)


def save_model(model: BagModel, folder: Path, *, settings: Mapping[str, Any]) -> None:
    """Write ``config.yaml`` (with all ``settings`` of the run) and ``model.safetensors``."""
    with replacing(folder / WEIGHTS) as part:
        save_file(learned_state(model), part)
    config = {
        "version": VERSION,
        "model": model.settings.of_model,
        "data": asdict(model.spec),
        "text_fingerprint": model.text_fingerprint,
        "training": {name: value for name, value in settings.items() if name not in model.settings.of_model},
    }
    with replacing(folder / CONFIG) as part:
        part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_config(folder: Path) -> tuple[ModelSettings, ModelSpec, str]:
    """Return settings, data facts and text-model fingerprint of a run.

    Raises
    ------
    ArtifactError
        There is no run, or not one that this program reads.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file", hint="it is written by `five train`; give its output folder")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        if config["version"] != VERSION:
            raise ArtifactError(f"{path}: version {config['version']}, this program reads {VERSION}")
        settings = load_settings(ModelSettings, config["model"], source=str(path))
        return settings, ModelSpec(**config["data"]), str(config["text_fingerprint"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not a configuration of `five train`", hint="train again") from error


def network_weight(folder: Path) -> float | None:
    """Return how much the network of a run counts beside its closed form, 0 to 1; None for a run that is not both."""
    with safe_open(folder / WEIGHTS, "pt") as weights:
        return float(weights.get_tensor("heard")) if "heard" in weights.keys() else None  # noqa: SIM118 - no mapping


def load_model(folder: Path, device: str = "cpu") -> BagModel:
    """Return the trained model of a run, in evaluation mode.

    Raises
    ------
    ArtifactError
        A file is missing or damaged, or the text model is not the one of the training.
    EncoderError
        The text model cannot be loaded.
    """
    settings, spec, text_fingerprint = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file", hint="the training did not finish; run `five train` again")
    model = build_model(settings, spec)
    if model.text_fingerprint != text_fingerprint:
        raise ArtifactError(
            f"{folder}: trained with other weights of the text model {settings.text_model!r}",
            hint="restore those weights, or train again",
        )
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: not a readable safetensors file", hint="train again") from error
    load_learned(model, state, path)
    return model.to(torch.device(device)).eval()
