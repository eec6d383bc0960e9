"""Where the compressed tiles of a TIFF slide lie in the file, for the layouts that we decode ourselves."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tifffile

from pipelines.slides.readers.tile_codecs import Jpeg2000Codec, JpegCodec, TileCodec

RGB, YCBCR = 2, 6
"""Photometric interpretations of TIFF."""
JPEG, APERIO_JPEG2000_RGB = 7, 33005
"""Compressions of TIFF. Aperio's 33003 (JPEG 2000 with YCbCr components, often subsampled) is left to OpenSlide."""
BLOCK = 16
"""Tile edges are multiples of this in TIFF; a quarter of a tile is then a whole number of pixels."""


@dataclass(frozen=True)
class StoredLevel:
    """One level of the pyramid as it is stored: a grid of compressed tiles, row by row."""

    width: int
    height: int
    """Of the image; the last tiles of rows and columns reach beyond it."""
    tile_width: int
    tile_height: int
    offsets: tuple[int, ...]
    """Of each tile in the file, bytes."""
    counts: tuple[int, ...]
    """Size of each compressed tile, bytes."""
    codec: TileCodec

    @property
    def columns(self) -> int:
        """Number of tiles in a row."""
        return math.ceil(self.width / self.tile_width)


def stored_levels(path: Path, dimensions: Sequence[tuple[int, int]]) -> tuple[StoredLevel, ...] | None:
    """Return the levels of a tiled TIFF slide that have the (width, height) of ``dimensions``.

    None where anything is unusual: strips, other compressions or sample layouts, missing
    tiles, several tiled images of one size, or none of a level's size. No pixels are read.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            tiled = [page for page in tiff.pages if page.is_tiled]
            pages = {(page.imagewidth, page.imagelength): page for page in tiled}
            if len(pages) < len(tiled):
                return None
            levels = [_stored_level(pages[size]) for size in dimensions if size in pages]
    except (tifffile.TiffFileError, OSError, ValueError, struct.error):
        return None
    found = tuple(level for level in levels if level is not None)
    return found if len(found) == len(dimensions) else None


def _stored_level(page: tifffile.TiffPage) -> StoredLevel | None:
    width, height = int(page.tilewidth), int(page.tilelength)
    codec = _codec(page, width, height)
    if codec is None or width % BLOCK or height % BLOCK:
        return None
    tiles = math.ceil(page.imagewidth / width) * math.ceil(page.imagelength / height)
    if not (len(page.dataoffsets) == len(page.databytecounts) == tiles) or min(page.databytecounts) == 0:
        return None
    offsets, counts = tuple(page.dataoffsets), tuple(page.databytecounts)
    return StoredLevel(page.imagewidth, page.imagelength, width, height, offsets, counts, codec)


def _codec(page: tifffile.TiffPage, width: int, height: int) -> TileCodec | None:
    if (page.samplesperpixel, page.bitspersample, page.planarconfig, page.imagedepth) != (3, 8, 1, 1):
        return None
    if page.compression == JPEG and page.photometric in (RGB, YCBCR):
        first = page.parent.filehandle.read_segments(page.dataoffsets[:1], page.databytecounts[:1])
        data = next(iter(first))[0]
        return JpegCodec.of(width, height, page.jpegtables or b"", data, is_rgb=page.photometric == RGB)
    if page.compression == APERIO_JPEG2000_RGB and page.photometric == RGB:
        return Jpeg2000Codec(width, height)
    return None
