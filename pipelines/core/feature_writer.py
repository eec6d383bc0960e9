"""Write the feature file of a slide; `feature_file` describes its content and reads it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipelines.core.feature_file import FEATURES, CoordsAttributes, FeatureHeader, FeatureInfo
from pipelines.core.files import fingerprint, replacing
from pipelines.core.provenance import Provenance
from pipelines.core.row_checksums import CHECKSUMS, row_blocks, row_checksums
from pipelines.core.sealed_hdf5 import BLOCK


class FeatureWriter:
    """Writes the feature file of one slide; created by `feature_writer`."""

    notes: dict[str, str]
    """Additional root attributes."""
    rows: int
    """Number of rows written so far."""

    def __init__(self, h5: h5py.File, *, n_tiles: int, dim: int, dtype: str) -> None:
        # a contiguous layout is the fastest to write and to sample rows from
        self._features = h5.create_dataset("features", (n_tiles, dim), dtype)
        self._coords = h5.create_dataset("coords", (n_tiles, 2), "int64")
        self._dtype, self._checksums = np.dtype(dtype), np.zeros(n_tiles, np.uint32)
        self.notes, self.rows = {}, 0

    def add(self, features: NDArray[Any], coords: NDArray[np.int64]) -> None:
        """Write the next rows: ``features`` (B, D) and ``coords`` (B, 2)."""
        rows = slice(self.rows, self.rows + len(features))
        features, coords = np.ascontiguousarray(features, self._dtype), np.ascontiguousarray(coords, np.int64)
        self._features[rows], self._coords[rows] = features, coords
        self._checksums[rows] = row_checksums(features, coords)
        self.rows = rows.stop

    @property
    def checksums(self) -> NDArray[np.uint32]:
        """Checksum of each row written so far."""
        return self._checksums[: self.rows]


@contextmanager
def feature_writer(
    path: Path,
    *,
    n_tiles: int,
    dim: int,
    dtype: str,
    info: FeatureInfo,
    coords_attributes: CoordsAttributes,
    provenance: Provenance,
) -> Iterator[FeatureWriter]:
    """Yield a writer for batches of tiles; the file appears when the block ends without an error.

    Parameters
    ----------
    n_tiles
        Maximum number of rows. If fewer are written, because tiles were unreadable, the file is shortened.
    """
    with replacing(path) as part:
        with h5py.File(part, "w", userblock_size=BLOCK) as h5:
            writer = FeatureWriter(h5, n_tiles=n_tiles, dim=dim, dtype=dtype)
            yield writer
        if writer.rows < n_tiles:
            _shorten(part, writer.rows)
        with h5py.File(part, "a") as h5:
            h5[CHECKSUMS] = writer.checksums
            h5["coords"].attrs.update(asdict(coords_attributes))
            h5.attrs.update({"five.schema": FEATURES.name, "five.schema_version": FEATURES.version})
            h5.attrs.update({**asdict(info), **provenance.to_attributes(), **writer.notes})
        header = FeatureHeader(writer.rows, dim, coords_attributes.patch_size, info)
        made = _fingerprint(writer.checksums, dim, dtype, info, coords_attributes)
        FEATURES.seal(part, fingerprint=made, header=asdict(header))


def _shorten(path: Path, n_rows: int) -> None:
    """Keep only the first ``n_rows`` rows of the datasets in ``path``."""
    with (
        replacing(path) as part,
        h5py.File(path, "r") as source_file,
        h5py.File(part, "w", userblock_size=BLOCK) as target_file,
    ):
        for name, source in source_file.items():
            target = target_file.create_dataset(name, (n_rows, source.shape[1]), source.dtype)
            for rows in row_blocks(n_rows):
                target[rows] = source[rows]


def _fingerprint(
    checksums: NDArray[np.uint32], dim: int, dtype: str, info: FeatureInfo, coords_attributes: CoordsAttributes
) -> str:
    """Return digits that depend on the values in the file, but not on paths, times and settings of the run."""
    sizes = [len(checksums), dim, dtype, coords_attributes.patch_size, coords_attributes.patch_size_level0]
    return fingerprint(
        [sizes, info.encoder_fingerprint, info.target_mpp, hashlib.sha256(checksums.tobytes()).hexdigest()]
    )
