"""A checksum for each row of a feature file, so that reading some rows checks these rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

CHECKSUMS = "row_checksums"
"""Name of the dataset, (N,) uint32."""
ROWS_AT_A_TIME = 8192
"""Rows copied or checked at a time."""


def row_checksums(features: NDArray[Any], coords: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return the CRC-32 of the bytes of each row of ``features`` followed by those of ``coords``."""
    rows = zip(features, coords, strict=True)
    return np.fromiter((crc32(corner, crc32(row)) for row, corner in rows), np.uint32, len(features))


def row_blocks(n_rows: int) -> Iterator[slice]:
    """Yield slices that cover ``n_rows`` rows, `ROWS_AT_A_TIME` rows each."""
    for start in range(0, n_rows, ROWS_AT_A_TIME):
        yield slice(start, min(start + ROWS_AT_A_TIME, n_rows))
