"""Describe HDF5 files: our features and attention, and features from other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipelines.contents.contents import CAN_BE, Contents, provenance_facts
from pipelines.core.attention_file import SCHEMA as ATTENTION
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import SCHEMA as FEATURES
from pipelines.core.feature_file import CoordsAttributes, read_info
from pipelines.core.provenance import Provenance

SAMPLED_ROWS = 1024
"""Maximum number of feature rows checked for NaN and infinite values, evenly spread over the file."""
ROUNDING = 0.01
"""Allowed deviation from 1 of the sum of a float16 attention row."""
FOREIGN_NAMES = ("features", "feats", "embeddings")
"""Dataset names that other programs use for features."""
TRIDENT_ATTRIBUTES = tuple(name for name in CoordsAttributes.__dataclass_fields__ if name != "name")
"""Attributes of ``coords`` that are shown; ``name`` may identify a patient in files of other programs."""


def hdf5_contents(path: Path) -> Contents:
    """Describe an HDF5 file of features or attention.

    Raises
    ------
    ArtifactError
        The file is damaged, or contains neither features nor attention.
    """
    try:
        with h5py.File(path, "r") as h5:
            datasets = {name: data for name, data in h5.items() if isinstance(data, h5py.Dataset)}
            schema = h5.attrs.get("five.schema")
            if schema == FEATURES:
                return _features(path, h5)
            if schema == ATTENTION:
                return _attention(path, h5)
            return _foreign_features(path, datasets)
    except (OSError, KeyError) as error:
        raise ArtifactError(
            f"{path}: not a readable HDF5 file",
            hint="the file is damaged; delete it and run the command that wrote it again",
        ) from error


def _features(path: Path, h5: h5py.File) -> Contents:
    attributes = {name: _plain(value) for name, value in h5.attrs.items()}
    provenance = Provenance.from_attributes(attributes)
    info = read_info(path)
    facts = {
        **_feature_facts(h5["features"]),
        "slide_id": info.slide_id,
        "encoder": info.encoder,
        "encoder_fingerprint": info.encoder_fingerprint,
        "precision": attributes.get("precision"),
        "mismatch": attributes.get("mismatch") or None,
        "mpp_x": info.mpp_x,
        "mpp_y": info.mpp_y,
        "target_mpp": info.target_mpp,
        **_coords_facts(h5["coords"]),
        "version": attributes["five.schema_version"],
        **provenance_facts(provenance),
    }
    return Contents(str(path), "feature file", facts, settings=provenance.settings)


def _attention(path: Path, h5: h5py.File) -> Contents:
    weights = h5["attention"]
    sums = weights[:].astype(np.float64).sum(axis=1)
    provenance = Provenance.from_attributes({name: str(value) for name, value in h5.attrs.items()})
    facts = {
        "tiles": weights.shape[1],
        "prompts": h5["prompts"].asstr()[:].tolist(),
        "dtype": str(weights.dtype),
        "rows_that_sum_to_1": int((np.abs(sums - 1) <= ROUNDING).sum()),
        "tile_size_level0": int(h5["coords"].attrs["tile_size_level0"]),
        "version": int(h5.attrs["five.schema_version"]),
        **provenance_facts(provenance),
    }
    return Contents(str(path), "attention file", facts, settings=provenance.settings)


def _foreign_features(path: Path, datasets: dict[str, h5py.Dataset]) -> Contents:
    name = next((name for name in FOREIGN_NAMES if name in datasets and _is_matrix(datasets[name])), None)
    if name is None:
        raise ArtifactError(f"{path}: HDF5 file without features or attention", hint=CAN_BE)
    facts = _feature_facts(datasets[name])
    if "coords" in datasets:
        facts |= _coords_facts(datasets["coords"])
    try:
        read_info(path)
    except ArtifactError as error:
        facts["not_for_five"] = f"{error.message.removeprefix(f'{path}: ')}; {error.hint}"
    rows = [{"dataset": key, "shape": list(data.shape), "dtype": str(data.dtype)} for key, data in datasets.items()]
    is_trident = name == "features" and "coords" in datasets
    what = "feature file of another program" + (" (the layout of TRIDENT and CLAM)" if is_trident else "")
    return Contents(str(path), what, facts, lists={"datasets": rows})


def _feature_facts(features: h5py.Dataset) -> dict[str, Any]:
    """Return shape and dtype, and the number of sampled rows with NaN or infinite values."""
    n_tiles, dim = features.shape[-2:]
    step = max(1, -(-n_tiles // SAMPLED_ROWS))
    sample = features[..., ::step, :].reshape(-1, dim)
    n_not_finite = int((~np.isfinite(sample).all(axis=1)).sum())
    return {
        "tiles": n_tiles,
        "dim": dim,
        "dtype": str(features.dtype),
        "rows_checked": len(sample),
        "rows_not_finite": n_not_finite,
    }


def _coords_facts(coords: h5py.Dataset) -> dict[str, Any]:
    """Return the attributes of ``coords``, with our word tile in place of patch."""
    attributes = {name: _plain(coords.attrs[name]) for name in TRIDENT_ATTRIBUTES if name in coords.attrs}
    return {name.replace("patch", "tile"): value for name, value in attributes.items()}


def _is_matrix(data: h5py.Dataset) -> bool:
    return bool(data.ndim >= 2 and data.dtype.kind == "f")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
