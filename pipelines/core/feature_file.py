"""The feature file of a slide: one HDF5 file with ``features`` and ``coords``.

The layout is that of TRIDENT and CLAM, so those tools (and TITAN, CONCH) can read it:
``features`` (N, D), ``coords`` (N, 2) int64 top-left corners in level-0 pixels, and TRIDENT's
attributes on ``coords``. Our own attributes are on the root.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ArtifactError
from pipelines.core.files import file_fingerprint, replacing
from pipelines.core.provenance import Provenance

SCHEMA, VERSION = "features", 1


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
        self.notes, self.rows = {}, 0

    def add(self, features: NDArray[Any], coords: NDArray[np.int64]) -> None:
        """Write the next rows: ``features`` (B, D) and ``coords`` (B, 2)."""
        rows = slice(self.rows, self.rows + len(features))
        self._features[rows], self._coords[rows] = features, coords
        self.rows = rows.stop


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
        with h5py.File(part, "w") as h5:
            writer = FeatureWriter(h5, n_tiles=n_tiles, dim=dim, dtype=dtype)
            yield writer
        if writer.rows < n_tiles:
            _shorten(part, writer.rows)
        with h5py.File(part, "a") as h5:
            h5["coords"].attrs.update(asdict(coords_attributes))
            h5.attrs.update({"five.schema": SCHEMA, "five.schema_version": VERSION})
            h5.attrs.update({**asdict(info), **provenance.to_attributes(), **writer.notes})


def _shorten(path: Path, n_rows: int, *, block: int = 8192) -> None:
    """Keep only the first ``n_rows`` rows of the datasets in ``path``."""
    with replacing(path) as part, h5py.File(path, "r") as source_file, h5py.File(part, "w") as target_file:
        for name, source in source_file.items():
            target = target_file.create_dataset(name, (n_rows, source.shape[1]), source.dtype)
            for start in range(0, n_rows, block):
                target[start : start + block] = source[start : min(start + block, n_rows)]


def read_bag(path: Path, rows: NDArray[np.integer[Any]] | None = None) -> Bag:
    """Read a feature file.

    Parameters
    ----------
    rows
        Indices of the rows to read, sorted and unique; None reads all.

    Raises
    ------
    ArtifactError
        The file is missing, damaged, or has no ``features`` and ``coords``.
    """
    with _open(path) as h5:
        return Bag(
            features=_rows(h5["features"], path, rows),
            coords=_rows(h5["coords"], path, rows),
            tile_size_level0=int(h5["coords"].attrs["patch_size_level0"]),
        )


def _rows(dataset: h5py.Dataset, path: Path, rows: NDArray[np.integer[Any]] | None) -> NDArray[Any]:
    """Return ``rows`` of a dataset, or all rows if None.

    Contiguous datasets are memory-mapped, which is several times faster for a subset of rows.
    """
    offset = dataset.id.get_offset() if dataset.chunks is None else None
    if rows is None or offset is None:
        values: NDArray[Any] = dataset[slice(None) if rows is None else rows]
    else:
        values = np.memmap(path, dataset.dtype, "r", offset, dataset.shape)[rows].view(np.ndarray)
    return values


def feature_shape(path: Path) -> tuple[int, int]:
    """Return the shape (N, D) of the features without reading them."""
    with _open(path) as h5:
        n_tiles, dim = h5["features"].shape
        return int(n_tiles), int(dim)


def read_header(path: Path) -> FeatureHeader:
    """Return what a feature file says about itself; the file is opened once, and no feature is read.

    Raises
    ------
    ArtifactError
        The file is missing, damaged, or not one of `five embed`.
    """
    try:
        with _open(path) as h5:
            features, coords = h5["features"], h5["coords"]
            _check_shapes(features, coords, path)
            n_tiles, dim = features.shape
            attributes = coords.attrs
            int(attributes["patch_size_level0"])  # needed to read the tiles
            return FeatureHeader(int(n_tiles), int(dim), int(attributes["patch_size"]), _info(h5, path))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # what h5py raises
        raise ArtifactError(
            f"{path}: not a readable feature file ({type(error).__name__})",
            hint="delete it and run `five embed` again",
        ) from error


def _check_shapes(features: h5py.Dataset, coords: h5py.Dataset, path: Path) -> None:
    for dataset, name, shape, kind in (
        (features, "features", (*features.shape[:1], *features.shape[-1:]), "f"),
        (coords, "coords", (*features.shape[:1], 2), "i"),
    ):
        if dataset.ndim != 2 or dataset.shape != shape or dataset.dtype.kind != kind:
            raise ArtifactError(
                f"{path}: '{name}' is {dataset.dtype} of shape {dataset.shape}",
                hint="expected a file of `five embed`, with features of shape (N, D) and coords of shape (N, 2)",
            )


def read_info(path: Path) -> FeatureInfo:
    """Return the root attributes of a feature file."""
    with _open(path) as h5:
        return _info(h5, path)


def content_fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits that depend on the content of a feature file.

    Raises
    ------
    ArtifactError
        The file is missing.
    """
    if not path.exists():
        raise ArtifactError(f"{path}: no such file", hint="run `five embed` first; it writes this file")
    return file_fingerprint(path)


def slide_dimensions(path: Path) -> tuple[int, int]:
    """Return the width and height of the slide in level-0 pixels."""
    with _open(path) as h5:
        attributes = h5["coords"].attrs
        return int(attributes["level0_width"]), int(attributes["level0_height"])


def read_notes(path: Path) -> dict[str, str]:
    """Return all root attributes of a feature file, as text."""
    with _open(path) as h5:
        return {name: str(value) for name, value in h5.attrs.items()}


def features_current(path: Path, provenance: Provenance) -> bool:
    """Return whether ``path`` is complete and has the same settings and input as ``provenance``."""
    try:
        notes = read_notes(path)
    except ArtifactError:
        return False
    return Provenance.from_attributes(notes).same_work(provenance)


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise ArtifactError(f"{path}: no such file", hint="run `five embed` first; it writes this file")
    try:
        h5 = h5py.File(path, "r")
    except OSError as error:
        raise ArtifactError(f"{path}: not a readable HDF5 file", hint="delete it and run `five embed` again") from error
    if "features" not in h5 or "coords" not in h5:
        h5.close()
        raise ArtifactError(f"{path}: no datasets 'features' and 'coords'", hint="expected a file of `five embed`")
    return h5


def _info(h5: h5py.File, path: Path) -> FeatureInfo:
    attributes = h5.attrs  # looked up once: each lookup opens the root
    missing = [name for name in FeatureInfo.__dataclass_fields__ if name not in attributes]
    if missing:
        raise ArtifactError(f"{path}: attribute '{missing[0]}' is missing", hint="expected a file of `five embed`")
    return FeatureInfo(
        slide_id=str(attributes["slide_id"]),
        encoder=str(attributes["encoder"]),
        encoder_fingerprint=str(attributes["encoder_fingerprint"]),
        mpp_x=float(attributes["mpp_x"]),
        mpp_y=float(attributes["mpp_y"]),
        target_mpp=float(attributes["target_mpp"]),
    )
