"""What is in the feature file of a slide, and how it is read: one HDF5 file with ``features`` and ``coords``.

The layout is that of TRIDENT and CLAM, so those tools (and TITAN, CONCH) can read it:
``features`` (N, D), ``coords`` (N, 2) int64 top-left corners in level-0 pixels, and TRIDENT's
attributes on ``coords``. Our own attributes are on the root. ``row_checksums`` (N,) holds a checksum
of each row, which every read compares; a digest covers all other bytes (see `sealed_hdf5`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.damage import damaged
from pipelines.core.errors import ArtifactError
from pipelines.core.provenance import Provenance
from pipelines.core.row_checksums import CHECKSUMS, row_blocks, row_checksums
from pipelines.core.sealed_hdf5 import Hdf5Artifact, SealedFile

FEATURES = Hdf5Artifact("features", "five embed", version=2, bulk=("features", "coords"))


@dataclass(frozen=True)
class CoordsAttributes:
    """Attributes of ``coords``, with TRIDENT's names and meaning."""

    patch_size: int
    """Edge length of a tile, pixels as the encoder sees it."""
    patch_size_level0: int
    """Edge length of a tile, pixels at level 0."""
    level0_magnification: float
    target_magnification: float
    overlap: int
    """Overlap of neighboring tiles, pixels as the encoder sees them."""
    name: str
    """The slide id."""
    level0_width: int
    level0_height: int


SLIDE_NOTE = "slide_path"
"""Root attribute with the path of the slide file when it was embedded; the file may have moved since."""


@dataclass(frozen=True)
class FeatureInfo:
    """Root attributes of a feature file."""

    slide_id: str
    encoder: str
    encoder_fingerprint: str
    """16 hexadecimal digits that change with the encoder's weights or preprocessing."""
    mpp_x: float
    mpp_y: float
    target_mpp: float
    space: str = ""
    """Name of the space that the features share with texts, such as ``keep 1a2b3c4d``; empty if there is none."""


@dataclass(frozen=True)
class FeatureHeader:
    """What a feature file says about itself, without its features."""

    n_tiles: int
    dim: int
    """Width of a feature vector."""
    tile_size: int
    """Edge length of a tile, pixels as the encoder sees it."""
    info: FeatureInfo


@dataclass(frozen=True)
class Bag:
    """Features of all or some tiles of one slide.

    N tiles, D channels.
    """

    features: NDArray[Any]
    """(N, D), float16 or float32."""
    coords: NDArray[np.int64]
    """(N, 2), x and y of the top-left corner, level-0 pixels."""
    tile_size_level0: int
    """Edge length of a tile, level-0 pixels."""


def read_bag(path: Path, rows: NDArray[np.integer[Any]] | None = None) -> Bag:
    """Read a feature file.

    Parameters
    ----------
    rows
        Indices of the rows to read, sorted and unique; None reads all.

    Raises
    ------
    ArtifactError
        The file is missing, has no digest, or is damaged in the rows or in the header.
    """
    with _open(path) as file:
        return _read(file, path, slice(None) if rows is None else rows)


def _read(file: SealedFile, path: Path, rows: NDArray[np.integer[Any]] | slice) -> Bag:
    """Return rows after comparing them with their checksums."""
    features, coords = file.rows("features", rows), file.rows("coords", rows)
    different = row_checksums(features, coords) != file.h5[CHECKSUMS][:][rows]
    if different.any():
        reason = f"{different.sum()} of {len(features)} rows do not match their checksums"
        raise damaged(path, "`five embed`", reason)
    return Bag(features, coords, tile_size_level0=int(file.h5["coords"].attrs["patch_size_level0"]))


def check_all_rows(path: Path) -> None:
    """Raise the error of `read_bag` if any row is damaged; only a part of the file is in memory."""
    with _open(path) as file:
        for rows in row_blocks(len(file.h5["features"])):
            _read(file, path, rows)


def read_header(path: Path) -> FeatureHeader:
    """Return what a feature file says about itself, from the record in its user block.

    This takes a tenth of the time in which HDF5 opens the file, which counts for 100,000 slides.

    Raises
    ------
    ArtifactError
        The file is missing, damaged outside the rows, or not one of `five embed`.
    """
    record = FEATURES.record(path)
    try:
        return FeatureHeader(**{**record["header"], "info": FeatureInfo(**record["header"]["info"])})
    except (LookupError, TypeError) as error:  # the digest fits, so only a file made on purpose comes here
        raise damaged(path, "`five embed`", "the record says too little") from error


def read_info(path: Path) -> FeatureInfo:
    """Return the facts about the slide and the encoder in a feature file."""
    return read_header(path).info


def content_fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits that depend on the values in a feature file, not on paths and times.

    They are stored in the file, so its rows are not read.

    Raises
    ------
    ArtifactError
        The file is missing, has no digest, or is damaged outside the rows.
    """
    return str(FEATURES.record(path)["fingerprint"])


def slide_dimensions(path: Path) -> tuple[int, int]:
    """Return the width and height of the slide in level-0 pixels."""
    with _open(path) as file:
        attributes = file.h5["coords"].attrs
        return int(attributes["level0_width"]), int(attributes["level0_height"])


def read_notes(path: Path) -> dict[str, str]:
    """Return all root attributes of a feature file, as text."""
    with _open(path) as file:
        return {name: str(value) for name, value in file.h5.attrs.items()}


def features_current(path: Path, provenance: Provenance) -> bool:
    """Return whether ``path`` has the same settings and input as ``provenance``, and no row is damaged."""
    try:
        if not Provenance.from_attributes(read_notes(path)).same_work(provenance):
            return False
        check_all_rows(path)
    except ArtifactError:
        return False
    return True


@contextmanager
def _open(path: Path) -> Iterator[SealedFile]:
    with FEATURES.open(path) as file:
        features, coords, checksums = (file.h5[name] for name in (*FEATURES.bulk, CHECKSUMS))
        n_tiles = len(checksums)
        if features.shape[:-1] != (n_tiles,) or features.dtype.kind != "f" or coords.shape != (n_tiles, 2):
            raise damaged(path, "`five embed`", "the datasets do not have the shapes and types of features")
        yield file
