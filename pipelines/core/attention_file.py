"""The attention file of a slide: the weight of every tile for each prompt, as HDF5.

- ``attention``: (P, N) float16; rows sum to 1
- ``prompts``: (P,) names
- ``coords``: (N, 2) int64, top-left corners in level-0 pixels, with the attribute ``tile_size_level0``
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ArtifactError
from pipelines.core.files import replacing
from pipelines.core.provenance import Provenance

SCHEMA, VERSION = "attention", 1


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of P prompts over N tiles of one slide."""

    weights: NDArray[np.floating[Any]]
    """(P, N), rows sum to 1."""
    prompts: Sequence[str]
    """(P,) names: question ids, then learnable prompts."""
    coords: NDArray[np.int64]
    """(N, 2) top-left corners (x, y), level-0 pixels."""
    tile_size_level0: int
    """Edge length of a tile, level-0 pixels."""


def write_attention(path: Path, attention: AttentionMaps, provenance: Provenance) -> None:
    """Write ``attention`` to ``path``, completely or not at all."""
    with replacing(path) as part, h5py.File(part, "w") as h5:
        h5["attention"] = attention.weights.astype(np.float16)
        h5.create_dataset("prompts", data=list(attention.prompts), dtype=h5py.string_dtype())
        h5["coords"] = attention.coords
        h5["coords"].attrs["tile_size_level0"] = attention.tile_size_level0
        h5.attrs.update({"five.schema": SCHEMA, "five.schema_version": VERSION, **provenance.to_attributes()})


def read_attention(path: Path) -> AttentionMaps:
    """Read a file that `write_attention` wrote.

    Raises
    ------
    ArtifactError
        The file is missing or is not an attention file.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file", hint="run `five predict` first; it writes this file")
    try:
        with h5py.File(path, "r") as h5:
            return AttentionMaps(
                weights=h5["attention"][:],
                prompts=h5["prompts"].asstr()[:].tolist(),
                coords=h5["coords"][:],
                tile_size_level0=int(h5["coords"].attrs["tile_size_level0"]),
            )
    except (OSError, KeyError) as error:
        raise ArtifactError(f"{path}: not an attention file", hint="delete it and run `five predict` again") from error
