"""Facts about the datasets of a feature file, written by five or by another program."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

from pipelines.core.feature_file import CoordsAttributes

SAMPLED_ROWS = 1024
"""Maximum number of feature rows checked for NaN and infinite values, evenly spread over the file."""
TRIDENT_ATTRIBUTES = tuple(name for name in CoordsAttributes.__dataclass_fields__ if name != "name")
"""Attributes of ``coords`` that are shown; ``name`` may identify a patient in files of other programs."""


def feature_facts(features: h5py.Dataset) -> dict[str, Any]:
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


def coords_facts(coords: h5py.Dataset) -> dict[str, Any]:
    """Return the attributes of ``coords``, with our word tile in place of patch."""
    attributes = {name: plain(coords.attrs[name]) for name in TRIDENT_ATTRIBUTES if name in coords.attrs}
    return {name.replace("patch", "tile"): value for name, value in attributes.items()}


def plain(value: Any) -> Any:
    """Return the value of an HDF5 attribute as plain JSON data."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value
