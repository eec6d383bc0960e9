"""Describe HDF5 files: our features and attention, and features from other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipelines.contents.contents import Contents, provenance_facts
from pipelines.contents.feature_facts import coords_facts, feature_facts, plain
from pipelines.contents.foreign_hdf5 import foreign_contents
from pipelines.core.attention_file import ATTENTION, read_attention
from pipelines.core.damage import cannot_read
from pipelines.core.feature_file import FEATURES, check_all_rows, content_fingerprint, read_info
from pipelines.core.provenance import Provenance
from pipelines.core.sealed_hdf5 import HDF5_MAGIC, checked_record

ROUNDING = 0.01
"""Allowed deviation from 1 of the sum of a float16 attention row."""
COMMAND = "the command that wrote it"


def hdf5_contents(path: Path) -> Contents:
    """Describe an HDF5 file of features or attention.

    Raises
    ------
    ArtifactError
        The file is damaged, or contains neither features nor attention.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                return foreign_contents(path)
            stream.seek(0)
            kind = checked_record(path, stream, COMMAND)["artifact"]
    except OSError as error:
        raise cannot_read(path, COMMAND, error) from error
    return _attention(path) if kind == ATTENTION.name else _features(path)


def _features(path: Path) -> Contents:
    check_all_rows(path)
    info = read_info(path)
    with FEATURES.open(path) as file:
        attributes = {name: plain(value) for name, value in file.h5.attrs.items()}
        features, coords = feature_facts(file.h5["features"]), coords_facts(file.h5["coords"])
    provenance = Provenance.from_attributes(attributes)
    facts = {
        **features,
        "slide_id": info.slide_id,
        "encoder": info.encoder,
        "encoder_fingerprint": info.encoder_fingerprint,
        "space": info.space or None,
        "precision": attributes.get("precision"),
        "mismatch": attributes.get("mismatch") or None,
        "mpp_x": info.mpp_x,
        "mpp_y": info.mpp_y,
        "target_mpp": info.target_mpp,
        **coords,
        "content_fingerprint": content_fingerprint(path),
        "version": attributes["five.schema_version"],
        **provenance_facts(provenance),
    }
    return Contents(str(path), "feature file", facts, settings=provenance.settings)


def _attention(path: Path) -> Contents:
    maps = read_attention(path)
    sums = maps.weights.astype(np.float64).sum(axis=1)
    with ATTENTION.open(path) as file:
        attributes = {name: str(value) for name, value in file.h5.attrs.items()}
    provenance = Provenance.from_attributes(attributes)
    facts = {
        "tiles": maps.weights.shape[1],
        "prompts": list(maps.prompts),
        "texts": list(maps.texts) or None,
        "dtype": str(maps.weights.dtype),
        "rows_that_sum_to_1": int((np.abs(sums - 1) <= ROUNDING).sum()),
        "tile_size_level0": maps.tile_size_level0,
        "version": int(attributes["five.schema_version"]),
        **provenance_facts(provenance),
    }
    return Contents(str(path), "attention file", facts, settings=provenance.settings)
