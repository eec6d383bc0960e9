"""Reader of plain RGB images with Pillow."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.core.errors import SlideError
from pipelines.slides.mpp import RecordedMpp
from pipelines.slides.picture_files import UNREADABLE, TooManyPixelsError, open_picture
from pipelines.slides.pixels import Rgb, over_white
from pipelines.slides.readers.base import DAMAGED, Reader

FORMATS = ("PNG", "JPEG", "TIFF")
"""Pillow's names of the formats of plain images."""

BAND = 256
"""Rows of an image with transparency that are converted at a time."""


class ImageReader(Reader):
    """A plain 8-bit RGB image (PNG, JPEG, TIFF) with one level, decoded at the first read.

    The whole image is kept in memory, so it may have at most `MAX_PIXELS` pixels.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pixels: Rgb | None = None
        self._error: SlideError | None = None  # decoding is tried only once, because it may take long
        self.vendor = "image"
        self.level_dimensions: tuple[tuple[int, int], ...]
        self.level_downsamples: tuple[float, ...] = (1.0,)
        self.recorded_mpp: tuple[RecordedMpp, ...] = ()
        try:
            with open_picture(path, FORMATS) as image:
                mode, size, dpi = image.mode, image.size, image.info.get("dpi")
                _refuse_missing_levels(path, image)
        except TooManyPixelsError as error:
            raise SlideError(
                f"{path}: not a slide that OpenSlide can open, and too large for a plain image ({error})",
                hint="if it is a slide, it is damaged or incomplete: copy it again; "
                "if it is an image, convert it to a pyramidal tiled TIFF",
            ) from error
        except UNREADABLE as error:
            raise SlideError(
                f"{path}: not a slide that OpenSlide can open, and not an image",
                hint="the file is damaged or has another format; leave it out or convert it to pyramidal TIFF",
            ) from error
        if mode not in ("RGB", "RGBA"):
            raise SlideError(
                f"{path}: a plain image of mode {mode}, not 8-bit RGB",
                hint="only brightfield RGB slides can be tiled; leave it out or convert it",
            )
        self.level_dimensions = (size,)
        if dpi is not None and min(dpi) > 0:
            self.recorded_mpp = (RecordedMpp("tiff-tags", 25_400 / dpi[0], 25_400 / dpi[1]),)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return the region, white outside the image."""
        pixels = self._decoded()
        region = np.full((height, width, 3), 255, np.uint8)
        left, top = max(0, x), max(0, y)
        inside = pixels[top : max(top, y + height), left : max(left, x + width)]
        region[top - y : top - y + inside.shape[0], left - x : left - x + inside.shape[1]] = inside
        return region

    def _decoded(self) -> Rgb:
        if self._error is not None:
            raise self._error
        if self._pixels is None:
            try:
                with open_picture(self._path, FORMATS) as image:
                    self._pixels = _decoded(image)
            except (*UNREADABLE, MemoryError) as error:
                self._error = SlideError(f"{self._path}: the image cannot be decoded: {error}", hint=DAMAGED)
                raise self._error from error
        return self._pixels

    def close(self) -> None:
        """Free the decoded pixels."""
        self._pixels = None


def _decoded(image: Image.Image) -> Rgb:
    """Return the pixels over white, with few copies of a large image."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND):
        bottom = min(top + BAND, image.height)
        out[top:bottom] = over_white(np.asarray(image.crop((0, top, image.width, bottom)).convert("RGBA")))
    return out


def _refuse_missing_levels(path: Path, image: Image.Image) -> None:
    """Raise `SlideError` for a TIFF whose last levels are missing, which is an incomplete copy of a slide."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in range(1, getattr(image, "n_frames", 1)):
                image.seek(number)
    except (*UNREADABLE, TypeError, KeyError, struct.error) as error:
        raise SlideError(f"{path}: the file ends before its last level", hint=DAMAGED) from error
