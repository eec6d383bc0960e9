"""Reader of OME-TIFF slides with tifffile.

An OME-TIFF keeps its pyramid in sub-directories and its microns per pixel in XML. OpenSlide reads neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import tifffile

from pipelines.core.errors import SlideError
from pipelines.slides.mpp import RecordedMpp
from pipelines.slides.pixels import Rgb
from pipelines.slides.readers.base import DAMAGED, TIFFFILE_ERRORS, Reader

MICRONS = {"µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25_400.0}
"""Units of PhysicalSize in OME-XML; files use the micro sign or the Greek letter."""
LAYOUTS = ("YXS", "SYX")
"""Axes of an RGB image: interleaved, or one plane per color."""
MAX_SEGMENT_PIXELS = 2**28
"""Maximum number of pixels of a strip, which may be the whole image."""


class OmeTiffReader(Reader):
    """The first image of an OME-TIFF file, 8-bit RGB, tiled or in strips."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.vendor = "ome-tiff"
        try:
            self._tiff = tifffile.TiffFile(path)
            series = self._tiff.series[0]
            axes, kind = series.axes, series.dtype
            self._pages = [level.keyframe for level in series.levels]
            self.recorded_mpp = tuple(recorded_mpp(self._tiff.ome_metadata or ""))
            n_levels = 1 + len(self._pages[0].subifds or ())
        except (ElementTree.ParseError, *TIFFFILE_ERRORS) as error:
            raise SlideError(f"{path}: not a readable OME-TIFF: {error}", hint=DAMAGED) from error
        if len(self._pages) < n_levels:
            self.close()
            raise SlideError(
                f"{path}: {n_levels - len(self._pages)} of its {n_levels} levels are missing", hint=DAMAGED
            )
        if axes not in LAYOUTS or kind != np.uint8 or {page.samplesperpixel for page in self._pages} != {3}:
            self.close()
            raise SlideError(
                f"{path}: an OME-TIFF with axes {axes} of {kind}, not 8-bit RGB",
                hint="only brightfield RGB slides can be tiled; leave it out or convert it",
            )
        self.level_dimensions = tuple((page.imagewidth, page.imagelength) for page in self._pages)
        width, height = self.level_dimensions[0]
        self.level_downsamples = tuple((width / w + height / h) / 2 for w, h in self.level_dimensions)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return the region, white outside the slide."""
        page, downsample = self._pages[level], self.level_downsamples[level]
        left, top = round(x / downsample), round(y / downsample)
        region = np.full((height, width, 3), 255, np.uint8)
        try:
            for number in _segments_under(page, left, top, width, height):
                self._paste(region, page, number, left, top)
        except TIFFFILE_ERRORS as error:
            hint = "pip install 'five-wsi[ome]'" if "imagecodecs" in str(error) else DAMAGED
            raise SlideError(f"{self._path}: unreadable at x={x}, y={y}: {error}", hint=hint) from error
        return region

    def _paste(self, region: Rgb, page: tifffile.TiffPage, number: int, left: int, top: int) -> None:
        """Copy stored segment ``number`` to its position in ``region``; with one plane per color, only that color."""
        handle, count = self._tiff.filehandle, page.databytecounts[number]
        if not page.is_tiled and page.rowsperstrip * page.imagewidth > MAX_SEGMENT_PIXELS:
            raise ValueError(f"a strip of more than {MAX_SEGMENT_PIXELS:,} pixels")
        handle.seek(page.dataoffsets[number])
        if page.dataoffsets[number] + count > handle.size:
            raise ValueError("the file ends before the end of this segment")
        data = handle.read(count)
        pixels, (plane, _, y, x, _), _ = page.decode(data, number, jpegtables=page.jpegtables)
        if pixels is None:
            raise ValueError("no pixels are stored here")
        channels = np.s_[plane : plane + 1] if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE else np.s_[:]
        part = pixels[0, : page.imagelength - y, : page.imagewidth - x]
        row, column = y - top, x - left
        part = part[max(0, -row) : max(0, len(region) - row), max(0, -column) : max(0, region.shape[1] - column)]
        row, column = max(0, row), max(0, column)
        region[row : row + part.shape[0], column : column + part.shape[1], channels] = part

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()


def _segments_under(page: tifffile.TiffPage, left: int, top: int, width: int, height: int) -> Iterator[int]:
    """Yield the numbers of the stored tiles (or strips, which are as wide as the image) that overlap a region."""
    tile_width, tile_height = (
        (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    )
    columns, rows = math.ceil(page.imagewidth / tile_width), math.ceil(page.imagelength / tile_height)
    planes = 3 if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE else 1
    for plane in range(planes):
        for row in range(max(0, top) // tile_height, min(rows, math.ceil(max(0, top + height) / tile_height))):
            for column in range(max(0, left) // tile_width, min(columns, math.ceil(max(0, left + width) / tile_width))):
                yield (plane * rows + row) * columns + column


def recorded_mpp(xml: str) -> Iterator[RecordedMpp]:
    """Yield the microns per pixel of the first image in OME-XML, or nothing if there are none."""
    pixels = next((part for part in ElementTree.fromstring(xml).iter() if part.tag.endswith("}Pixels")), None)
    if pixels is None:
        return
    sizes = [_microns(pixels, axis) for axis in "XY"]
    if all(sizes):
        yield RecordedMpp("metadata", *sizes)


def _microns(pixels: ElementTree.Element, axis: str) -> float:
    try:
        size = float(pixels.get(f"PhysicalSize{axis}", ""))
    except ValueError:
        return 0.0
    return size * MICRONS.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), 0.0)


def is_ome_tiff(path: Path) -> bool:
    """Return whether ``path`` is an OME-TIFF, judged by its name or by its first directory."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return False
    if path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return True
    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.is_ome)
    except TIFFFILE_ERRORS:
        return False
