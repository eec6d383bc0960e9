"""The attention file of a slide: what each tile weighs and says, as HDF5.

- ``attention``: (P, N) float16; rows sum to 1
- ``prompts``: (P,) names
- ``coords``: (N, 2) int64, top-left corners in level-0 pixels, with the attribute ``tile_size_level0``
- ``contributions``: (K, N) float32, what each tile adds to the logit of each class; K is 0 for a model that cannot say
- ``classes``: (K,) names
- ``similarities``: (S, N) float16, cosine similarity of each tile to the texts of each class or answer; S is 0 for a
  trained model
- ``texts``: (S,) names: a class, ``question=answer``, or ``other`` for the best text of other tissue

`sealed_hdf5` explains the digest of the file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipelines.core.damage import damaged
from pipelines.core.files import replacing
from pipelines.core.provenance import Provenance
from pipelines.core.sealed_hdf5 import BLOCK, Hdf5Artifact

ATTENTION = Hdf5Artifact("attention", "five predict", version=4)
OTHER = "other"
"""Name of the best similarity of a tile to a text of other tissue."""


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of P prompts over N tiles of one slide."""

    weights: NDArray[np.floating[Any]]
    """(P, N), rows sum to 1."""
    prompts: Sequence[str]
    """(P,) names: question ids, then learnable prompts; without a trained model as in ``texts``."""
    coords: NDArray[np.int64]
    """(N, 2) top-left corners (x, y), level-0 pixels."""
    tile_size_level0: int
    """Edge length of a tile, level-0 pixels."""
    contributions: NDArray[np.floating[Any]]
    """(K, N) what each tile adds to the logit of each class."""
    classes: Sequence[str]
    """(K,) names; empty for a model whose logits are no sums over tiles."""
    texts: Sequence[str] = ()
    """(S,) names: a class, ``question=answer``, or `OTHER`; empty for a trained model."""
    similarities: NDArray[np.floating[Any]] = field(default_factory=lambda: np.zeros((0, 0)))
    """(S, N) cosine similarity of each tile to the texts."""


def write_attention(path: Path, attention: AttentionMaps, provenance: Provenance) -> None:
    """Write ``attention`` to ``path``, completely or not at all."""
    with replacing(path) as part:
        memory = io.BytesIO()  # on a full disk, the HDF5 library itself fails again and again when it closes a file
        with h5py.File(memory, "w", userblock_size=BLOCK) as h5:
            h5["attention"] = attention.weights.astype(np.float16)
            h5.create_dataset("prompts", data=list(attention.prompts), dtype=h5py.string_dtype())
            h5["contributions"] = attention.contributions.astype(np.float32)
            h5.create_dataset("classes", data=list(attention.classes), dtype=h5py.string_dtype())
            shape = len(attention.texts), len(attention.coords)
            h5["similarities"] = attention.similarities.astype(np.float16).reshape(shape)
            h5.create_dataset("texts", data=list(attention.texts), dtype=h5py.string_dtype())
            h5["coords"] = attention.coords
            h5["coords"].attrs["tile_size_level0"] = attention.tile_size_level0
            h5.attrs.update({"five.schema": ATTENTION.name, "five.schema_version": ATTENTION.version})
            h5.attrs.update(provenance.to_attributes())
        part.write_bytes(memory.getvalue())
        ATTENTION.seal(part)


def read_attention(path: Path) -> AttentionMaps:
    """Read a file that `write_attention` wrote.

    Raises
    ------
    ArtifactError
        The file is missing, damaged, not an attention file, or has no digest.
    """
    with ATTENTION.open(path) as file:
        maps = AttentionMaps(
            weights=file.h5["attention"][:],
            prompts=file.h5["prompts"].asstr()[:].tolist(),
            coords=file.h5["coords"][:],
            tile_size_level0=int(file.h5["coords"].attrs["tile_size_level0"]),
            contributions=file.h5["contributions"][:],
            classes=file.h5["classes"].asstr()[:].tolist(),
            similarities=file.h5["similarities"][:],
            texts=file.h5["texts"].asstr()[:].tolist(),
        )
    named = (maps.weights, maps.prompts), (maps.contributions, maps.classes), (maps.similarities, maps.texts)
    if maps.coords.shape[1:] != (2,) or any(rows.shape != (len(names), len(maps.coords)) for rows, names in named):
        raise damaged(path, "`five predict`", "the datasets do not have the shapes of attention")
    return maps
