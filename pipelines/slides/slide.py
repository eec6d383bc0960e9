"""An open slide: microns per pixel, tiles at an exact resolution, and a thumbnail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import SlideError
from pipelines.slides.mpp import SlideMpp, resolve_mpp
from pipelines.slides.pixels import Rgb, resampled
from pipelines.slides.readers.base import DAMAGED, Reader
from pipelines.slides.readers.opening import open_reader

LEVEL_TOLERANCE = 1.01
"""A level is fine enough if its downsample exceeds the wanted one by no more than this factor.
Level sizes are rounded, so the downsample of a "4x" level may be 4.0003."""
BLOCK = 2048
"""Edge of the blocks in which a thumbnail is read, pixels of the level; limits memory."""
SMALLEST_BLOCK = 256
"""Unreadable blocks are divided down to this edge, pixels of the level."""


@dataclass(frozen=True)
class Thumbnail:
    """The whole slide at a fixed resolution."""

    rgb: Rgb
    """(H, W, 3); white where the slide is unreadable."""
    readable: NDArray[np.bool_]
    """(H, W); False where the slide is unreadable."""
    downsample: tuple[float, float]
    """Level-0 pixels per thumbnail pixel, x and y, exact. The last column and row may extend beyond the slide."""
    mpp: float
    """Microns per thumbnail pixel, mean of both axes."""


class Slide:
    """An open slide, returned by `open_slide`; use it as a context manager."""

    def __init__(
        self, path: Path, reader: Reader, *, mpp: float | None = None, cohort_mpp: float | None = None
    ) -> None:
        self.path = path
        self._reader = reader
        self._mpp, self._cohort_mpp = mpp, cohort_mpp

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file."""
        self._reader.close()

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height, pixels at level 0."""
        return self._reader.level_dimensions[0]

    @property
    def vendor(self) -> str:
        """OpenSlide's name of the format, ``ome-tiff``, or ``image`` for a plain image."""
        return self._reader.vendor

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each level, pixels."""
        return self._reader.level_dimensions

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Level-0 pixels per pixel of each level."""
        return self._reader.level_downsamples

    @cached_property
    def micron_scale(self) -> SlideMpp:
        """Microns per pixel at level 0, with its source.

        Raises
        ------
        MissingMppError
            No source has a plausible value.
        """
        return resolve_mpp(self.path, self._reader.recorded_mpp, cohort=self._cohort_mpp, flag=self._mpp)

    @property
    def mpp(self) -> tuple[float, float]:
        """Microns per pixel at level 0, x and y; raises `MissingMppError` if no source has it."""
        return self.micron_scale.x, self.micron_scale.y

    def best_level(self, downsample: float) -> int:
        """Return the coarsest level that is at least as fine as ``downsample`` (0 if none is)."""
        fine = [k for k, own in enumerate(self.level_downsamples) if own <= downsample * LEVEL_TOLERANCE]
        return max(fine, key=lambda k: self.level_downsamples[k], default=0)

    def read_region(self, x: int, y: int, level: int, size: tuple[int, int]) -> Rgb:
        """Return ``size`` (width, height) pixels of ``level`` from (x, y), level-0 pixels.

        Raises
        ------
        SlideError
            This region cannot be read; others still can.
        """
        return self._reader.read(x, y, level, *size)

    def read_tile(self, x: int, y: int, size_level0: int, tile_size: int) -> Rgb:
        """Return the square of ``size_level0`` level-0 pixels from (x, y) as ``tile_size`` pixels.

        The tile is read from the best level and resampled once (area mean), so its microns per
        pixel do not depend on the pyramid. It is white outside the slide.

        Returns
        -------
        uint8 array of shape ``(tile_size, tile_size, 3)``, RGB.

        Raises
        ------
        SlideError
            This region cannot be read; others still can.
        """
        level = self.best_level(size_level0 / tile_size)
        edge = max(1, round(size_level0 / self.level_downsamples[level]))
        return self._reader.read_scaled(x, y, level, edge, edge, (tile_size, tile_size))

    def thumbnail(self, mpp: float) -> Thumbnail:
        """Return the whole slide at ``mpp`` microns per pixel, or at its own resolution if that is coarser.

        The slide is read in blocks, so memory is limited even if a large slide has only one level.
        Unreadable blocks are white and marked in ``readable``.

        Raises
        ------
        SlideError
            No part of the slide can be read.
        """
        scale = self.micron_scale
        level = self.best_level(mpp / max(scale.x, scale.y))
        (width, height), (level_width, level_height) = self.dimensions, self.level_dimensions[level]
        pixel = scale.x * width / level_width, scale.y * height / level_height  # microns per pixel of the level
        # Blocks shrink by a whole factor, so that they share no pixels; a single resize does the rest.
        factor = max(1, int(mpp / max(pixel) / 2))
        columns, rows = math.ceil(level_width / factor), math.ceil(level_height / factor)
        rgb = np.full((rows, columns, 3), 255, np.uint8)
        readable = np.zeros(rgb.shape[:2], np.uint8)
        errors: list[SlideError] = []
        step = max(1, BLOCK // factor) * factor
        for left, top, block in self._blocks(level, (0, 0, level_width, level_height), step, factor, errors):
            small = _shrunk(block, factor)
            area = np.s_[top // factor : top // factor + len(small), left // factor : left // factor + small.shape[1]]
            rgb[area] = small
            readable[area] = 1
        if errors and not readable.any():
            reason = errors[0].message.removeprefix(f"{self.path}: ")
            raise SlideError(f"{self.path}: no part of the slide can be read: {reason}", hint=DAMAGED)
        shape = _edge(columns, factor * pixel[0] / mpp), _edge(rows, factor * pixel[1] / mpp)
        downsample = (
            columns * factor * width / level_width / shape[0],
            rows * factor * height / level_height / shape[1],
        )
        whole = cv2.resize(readable, shape, interpolation=cv2.INTER_NEAREST).astype(bool)
        return Thumbnail(resampled(rgb, shape), whole, downsample, scale.mean * math.sqrt(math.prod(downsample)))

    def _blocks(
        self, level: int, area: tuple[int, int, int, int], step: int, factor: int, errors: list[SlideError]
    ) -> Iterator[tuple[int, int, Rgb]]:
        """Yield corner and pixels of the readable blocks of ``area`` (x, y, width, height, pixels of the level).

        An unreadable block is divided down to `SMALLEST_BLOCK`, so that little more than the damaged part is lost.
        """
        left, top, width, height = area
        for y in range(top, top + height, step):
            for x in range(left, left + width, step):
                size = min(step, left + width - x), min(step, top + height - y)
                try:
                    yield x, y, self.read_region(*self._level0(x, y, level), level, size)
                except SlideError as error:
                    errors.append(error)
                    half = math.ceil(max(max(size) / 2, SMALLEST_BLOCK) / factor) * factor
                    if half < max(size):
                        yield from self._blocks(level, (x, y, *size), half, factor, errors)

    def _level0(self, x: int, y: int, level: int) -> tuple[int, int]:
        (width, height), (level_width, level_height) = self.dimensions, self.level_dimensions[level]
        return round(x * width / level_width), round(y * height / level_height)


def open_slide(path: Path | str, mpp: float | None = None, *, cohort_mpp: float | None = None) -> Slide:
    """Open a slide file: any format of OpenSlide, OME-TIFF, or a plain RGB image.

    Set the environment variable ``FIVE_READER=openslide`` to read all pixels with OpenSlide.

    Parameters
    ----------
    mpp
        Microns per pixel at level 0, used if the file records none (``--mpp``).
    cohort_mpp
        Microns per pixel at level 0 from the cohort table; takes precedence over the file.

    Raises
    ------
    SlideError
        The file cannot be opened.
    """
    path = Path(path)
    return Slide(path, open_reader(path), mpp=mpp, cohort_mpp=cohort_mpp)


def _edge(pixels: int, scale: float) -> int:
    return min(pixels, max(1, round(pixels * scale)))


def _shrunk(rgb: Rgb, factor: int) -> Rgb:
    """Return ``rgb`` reduced by a whole factor; the last row and column are padded with white."""
    width, height = math.ceil(rgb.shape[1] / factor), math.ceil(rgb.shape[0] / factor)
    bottom, right = height * factor - rgb.shape[0], width * factor - rgb.shape[1]
    if bottom or right:
        rgb = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return resampled(rgb, (width, height))
