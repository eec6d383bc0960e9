"""Pixels of a slide file, level by level: OpenSlide for slides, tifffile for OME-TIFF, Pillow for plain pictures."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray
from PIL import Image

from pipelines.core.errors import SlideError
from pipelines.slides.mpp import RecordedMpp, openslide_mpp

Rgb = NDArray[np.uint8]
"""(height, width, 3), uint8, red first."""

DAMAGED = "the file may be damaged or incomplete: copy it again, or leave the slide out"


class Reader(Protocol):
    """One open slide file. Associated images (label, macro) are out of reach on purpose."""

    vendor: str
    level_dimensions: tuple[tuple[int, int], ...]
    """Width and height of each level, pixels; level 0 is the largest."""
    level_downsamples: tuple[float, ...]
    recorded_mpp: tuple[RecordedMpp, ...]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return ``width`` x ``height`` pixels of ``level`` from (x, y) in level-0 pixels; white outside."""

    def read_scaled(self, x: int, y: int, level: int, width: int, height: int, size: tuple[int, int]) -> Rgb:
        """Return the region of `read` as ``size`` (width, height) pixels, resampled once."""
        return resampled(self.read(x, y, level, width, height), size)

    def close(self) -> None:
        """Release the file."""


def open_reader(path: Path) -> Reader:
    """Open ``path`` as OME-TIFF if it is one, else with OpenSlide, else as a plain RGB picture.

    Raises
    ------
    SlideError
        The file is missing, unreadable, damaged, or of no known format.
    """
    try:
        if path.is_file():
            path.open("rb").close()
        elif not path.exists():
            raise SlideError(f"{path}: no such file", hint="check the cohort column 'path'")
        return _ome_tiff(path) or OpenSlideReader(path)
    except openslide.OpenSlideUnsupportedFormatError:
        return ImageReader(path)
    except openslide.OpenSlideError as error:
        raise SlideError(f"{path}: OpenSlide cannot open it: {error}", hint=DAMAGED) from error
    except OSError as error:
        raise SlideError(
            f"{path}: cannot be read: {error.strerror or error}", hint="check the file's rights"
        ) from error


def _ome_tiff(path: Path) -> Reader | None:
    """Open ``path`` if it is an OME-TIFF, of which OpenSlide would read the first level only."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    from pipelines.slides.ome_tiff import OmeTiffReader, is_ome_tiff

    return OmeTiffReader(path) if is_ome_tiff(path) else None


class OpenSlideReader(Reader):
    """A slide that OpenSlide opens.

    A failed read leaves an OpenSlide handle unusable, so the handle is dropped then and
    opened again by the next read: one unreadable region costs only itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: openslide.OpenSlide | None = openslide.OpenSlide(path)
        self.vendor = str(self._handle.properties.get("openslide.vendor", "unknown"))
        self.level_dimensions = tuple(self._handle.level_dimensions)
        self.level_downsamples = tuple(self._handle.level_downsamples)
        self.recorded_mpp = tuple(openslide_mpp(self._handle.properties))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return the region over white (slides are transparent where nothing was scanned)."""
        try:
            if self._handle is None:
                self._handle = openslide.OpenSlide(self._path)
            rgba = np.asarray(self._handle.read_region((x, y), level, (width, height)))
        except openslide.OpenSlideError as error:
            self.close()
            raise SlideError(f"{self._path}: unreadable at x={x}, y={y}: {error}", hint=DAMAGED) from error
        return over_white(rgba)

    def close(self) -> None:
        """Close the handle, if one is open."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None


class ImageReader(Reader):
    """A plain 8-bit RGB picture (PNG, JPEG, TIFF), decoded when first read; one level.

    Pillow's limit of about 179 million pixels holds, since the picture is kept in memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pixels: Rgb | None = None
        self.vendor = "image"
        self.level_dimensions: tuple[tuple[int, int], ...]
        self.level_downsamples: tuple[float, ...] = (1.0,)
        self.recorded_mpp: tuple[RecordedMpp, ...] = ()
        try:
            with _open_image(path) as image:
                mode, size, dpi = image.mode, image.size, image.info.get("dpi")
                _refuse_cut(path, image)
        except Image.DecompressionBombError as error:
            raise SlideError(
                f"{path}: not a slide that OpenSlide knows, and too large for a plain picture",
                hint="a slide is damaged or incomplete: copy it again; a picture has to become a pyramidal tiled TIFF",
            ) from error
        except (OSError, SyntaxError, ValueError) as error:
            raise SlideError(
                f"{path}: not a slide that OpenSlide knows, and not a picture",
                hint="the file is damaged or of another format; leave it out or convert it to pyramidal TIFF",
            ) from error
        if mode not in ("RGB", "RGBA"):
            raise SlideError(
                f"{path}: a plain picture of mode {mode}, not 8-bit RGB",
                hint="only brightfield RGB slides can be tiled; leave it out or convert it",
            )
        self.level_dimensions = (size,)
        if dpi is not None and min(dpi) > 0:
            self.recorded_mpp = (RecordedMpp("tiff-tags", 25_400 / dpi[0], 25_400 / dpi[1]),)

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return the region, white outside of the picture."""
        pixels = self._decoded()
        region = np.full((height, width, 3), 255, np.uint8)
        left, top = max(0, x), max(0, y)
        found = pixels[top : max(top, y + height), left : max(left, x + width)]
        region[top - y : top - y + found.shape[0], left - x : left - x + found.shape[1]] = found
        return region

    def _decoded(self) -> Rgb:
        if self._pixels is None:
            try:
                with _open_image(self._path) as image:
                    self._pixels = over_white(np.asarray(image.convert("RGBA")))
            except (OSError, SyntaxError, ValueError) as error:
                raise SlideError(f"{self._path}: the picture cannot be decoded: {error}", hint=DAMAGED) from error
        return self._pixels

    def close(self) -> None:
        """Let the decoded pixels go."""
        self._pixels = None


def _refuse_cut(path: Path, image: Image.Image) -> None:
    """Raise `SlideError` for a TIFF of several levels whose last ones are missing: an incomplete copy of a slide."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number in range(1, getattr(image, "n_frames", 1)):
                image.seek(number)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error) as error:
        raise SlideError(f"{path}: the file ends before its last level does", hint=DAMAGED) from error


def _open_image(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the bomb warning at half of the limit, and unknown metadata
        return Image.open(path)


def over_white(rgba: NDArray[np.uint8]) -> Rgb:
    """Return (H, W, 4) straight-alpha pixels laid over white, (H, W, 3) uint8."""
    rgb: Rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return rgb
    opacity = alpha[..., None].astype(np.float32) / 255
    return (rgb * opacity + 255 * (1 - opacity) + 0.5).astype(np.uint8)


def resampled(rgb: Rgb, size: tuple[int, int]) -> Rgb:
    """Return ``rgb`` as ``size`` (width, height): area mean down, linear up, itself if it fits."""
    height, width = rgb.shape[:2]
    if (width, height) == size:
        return rgb
    down = width >= size[0] and height >= size[1]
    out: Rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if down else cv2.INTER_LINEAR)
    return out


def darkest_channel(rgb: Rgb) -> NDArray[np.uint8]:
    """Return the least of the three channels, (H, W); many times as fast as ``rgb.min(axis=2)``."""
    return np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def brightest_channel(rgb: Rgb) -> NDArray[np.uint8]:
    """Return the greatest of the three channels, (H, W); many times as fast as ``rgb.max(axis=2)``."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
