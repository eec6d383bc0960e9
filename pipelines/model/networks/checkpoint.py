"""Save and load a trained model: ``config.yaml`` and ``model.safetensors``. Reading them runs no code.

The weights of the published text model are not stored; its name and fingerprint are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipelines.core.errors import ArtifactError
from pipelines.core.files import replacing
from pipelines.core.run_manifest import CONFIG, WEIGHTS, RunManifest
from pipelines.core.settings import load_settings
from pipelines.core.settings.model import ModelSettings
from pipelines.core.tensor_file import write_tensors
from pipelines.core.yaml_file import read_yaml
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.build import build_model
from pipelines.model.networks.tower_texts import TowerLoader

VERSION = 6
"""Format of a run; a run with another version is refused."""


@dataclass(frozen=True)
class RunConfig:
    """The part of ``config.yaml`` that describes the model."""

    settings: ModelSettings
    spec: ModelSpec
    text_fingerprint: str


def load_learned(model: BagModel, state: Mapping[str, Tensor], source: object) -> None:
    """Load stored weights into ``model``.

    Parameters
    ----------
    source
        Named in the error message.

    Raises
    ------
    ArtifactError
        A weight is missing, unknown, or of another shape.
    """
    expected = model.learned_state()
    wrong = [f"{name} is missing" for name in expected.keys() - state.keys()]
    wrong += [f"{name} is unknown" for name in state.keys() - expected.keys()]
    wrong += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & state.keys()
        if state[name].shape != expected[name].shape
    ]
    if wrong:
        raise ArtifactError(
            f"{source}: weights do not fit the model in {CONFIG}: {sorted(wrong)[0]} ({len(wrong)} problems)",
            hint="the two files come from different runs; train again",
        )
    model.load_state_dict(dict(state), strict=False)


def save_model(model: BagModel, folder: Path, *, settings: Mapping[str, Any]) -> None:
    """Write ``model.safetensors`` and ``config.yaml``, which also holds all ``settings`` of the run."""
    with replacing(folder / WEIGHTS) as part:
        write_tensors(part, model.learned_state())
    config = {
        "version": VERSION,
        "model": model.settings.of_model,
        "data": asdict(model.spec),
        "text_fingerprint": model.text_fingerprint,
        "training": {name: value for name, value in settings.items() if name not in model.settings.of_model},
    }
    with replacing(folder / CONFIG) as part:
        part.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")


def read_config(folder: Path, manifest: RunManifest | None = None) -> RunConfig:
    """Read the description of the model from ``config.yaml`` of a run.

    Parameters
    ----------
    manifest
        Manifest of the run if it is known already; see `load_model`.

    Raises
    ------
    ArtifactError
        The run is not complete, the file is not the one of the run, or it is of another version.
    SettingsError
        A value is not allowed.
    """
    path = (manifest or RunManifest.read(folder)).verified(CONFIG)
    config = read_yaml(path, expected="what `five train` writes")
    try:
        if config["version"] != VERSION:
            raise ArtifactError(
                f"{path}: written by another version of five (run format {config['version']}, expected {VERSION})",
                hint="train it again with `five train --overwrite`, or use the version of five that wrote it",
            )
        return RunConfig(
            settings=load_settings(ModelSettings, config["model"], source=str(path)),
            spec=ModelSpec(**config["data"]),
            text_fingerprint=str(config["text_fingerprint"]),
        )
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not written by `five train`", hint="train the run again") from error


def load_model(
    folder: Path, device: str = "cpu", manifest: RunManifest | None = None, tower: TowerLoader | None = None
) -> BagModel:
    """Return the trained model of a run, in evaluation mode.

    Parameters
    ----------
    manifest
        Manifest that the caller read first, so that all files are of the same run even if `five train` writes a new
        run to the folder meanwhile.
    tower
        Loads the text tower of the encoder; only called if the model uses it.

    Raises
    ------
    ArtifactError
        The run is not complete, a file is not the one of the run, or the text model is not the one used in training.
    EncoderError
        The text model cannot be loaded.
    """
    manifest = manifest or RunManifest.read(folder)
    config = read_config(folder, manifest)
    path = manifest.verified(WEIGHTS)
    model = build_model(config.settings, config.spec, tower)
    if model.text_fingerprint != config.text_fingerprint:
        raise ArtifactError(
            f"{folder}: trained with other weights of the text model {config.settings.text_model!r}",
            hint="restore those weights, or train again",
        )
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: not a readable safetensors file", hint="train again") from error
    load_learned(model, state, path)
    return model.to(torch.device(device)).eval()
