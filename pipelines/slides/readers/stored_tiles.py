"""Positions of the compressed tiles in a TIFF slide, for the layouts that the fast reader decodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile

from pipelines.slides.readers.base import TIFFFILE_ERRORS
from pipelines.slides.readers.tile_codecs import Jpeg2000Codec, JpegCodec, TileCodec

RGB, YCBCR = 2, 6
"""Photometric interpretations of TIFF."""
JPEG, APERIO_JPEG2000_RGB = 7, 33005
"""Compressions of TIFF. Aperio's 33003 (JPEG 2000 with YCbCr components, often subsampled) is left to OpenSlide."""
BLOCK = 16
"""Tile edges in TIFF are multiples of this, so a quarter of a tile is a whole number of pixels."""


@dataclass(frozen=True)
class StoredLevel:
    """One level of the pyramid as stored: a grid of compressed tiles, row by row."""

    width: int
    height: int
    """Size of the level, pixels; the last tiles of rows and columns extend beyond it."""
    tile_width: int
    tile_height: int
    offsets: tuple[int, ...]
    """Position of each tile in the file, bytes."""
    byte_counts: tuple[int, ...]
    """Size of each compressed tile, bytes."""
    codec: TileCodec

    @property
    def columns(self) -> int:
        """Number of tiles in a row."""
        return math.ceil(self.width / self.tile_width)


def stored_levels(path: Path, dimensions: Sequence[tuple[int, int]]) -> tuple[StoredLevel, ...] | None:
    """Return the levels of a tiled TIFF slide that have the (width, height) of ``dimensions``.

    Return None for every unusual file: strips, other compressions or sample layouts, missing
    tiles, several tiled images of the same size, or a level without an image. No pixels are read.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            tiled = [page for page in tiff.pages if page.is_tiled]
            pages = {(page.imagewidth, page.imagelength): page for page in tiled}
            if len(pages) < len(tiled):
                return None
            candidates = [_stored_level(pages[size]) for size in dimensions if size in pages]
    except TIFFFILE_ERRORS:
        return None
    levels = tuple(level for level in candidates if level is not None)
    return levels if len(levels) == len(dimensions) else None


def _stored_level(page: tifffile.TiffPage) -> StoredLevel | None:
    width, height = int(page.tilewidth), int(page.tilelength)
    codec = _codec(page, width, height)
    if codec is None or width % BLOCK or height % BLOCK:
        return None
    n_tiles = math.ceil(page.imagewidth / width) * math.ceil(page.imagelength / height)
    if not (len(page.dataoffsets) == len(page.databytecounts) == n_tiles) or min(page.databytecounts) == 0:
        return None
    offsets, byte_counts = tuple(page.dataoffsets), tuple(page.databytecounts)
    return StoredLevel(page.imagewidth, page.imagelength, width, height, offsets, byte_counts, codec)


def _codec(page: tifffile.TiffPage, width: int, height: int) -> TileCodec | None:
    if (page.samplesperpixel, page.bitspersample, page.planarconfig, page.imagedepth) != (3, 8, 1, 1):
        return None
    if page.dataoffsets[0] + page.databytecounts[0] > page.parent.filehandle.size:
        return None
    if page.compression == JPEG and page.photometric in (RGB, YCBCR):
        segments = page.parent.filehandle.read_segments(page.dataoffsets[:1], page.databytecounts[:1])
        first_tile = next(iter(segments))[0]
        return JpegCodec.of(width, height, page.jpegtables or b"", first_tile, is_rgb=page.photometric == RGB)
    if page.compression == APERIO_JPEG2000_RGB and page.photometric == RGB:
        return Jpeg2000Codec(width, height)
    return None
