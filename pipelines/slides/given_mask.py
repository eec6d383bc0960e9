"""Tissue masks drawn by the user: QuPath GeoJSON or a mask image, used instead of automatic detection."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ArtifactError, SlideError
from pipelines.core.geojson import Polygon, read_features
from pipelines.slides.picture_files import UNREADABLE, TooManyPixelsError, open_picture
from pipelines.slides.slide import Thumbnail
from pipelines.slides.tissue import Mask

SUFFIXES = (".geojson", ".json", ".png")
"""Suffixes of mask files, in order of preference."""
OVERSAMPLING = 4
"""Polygons are drawn at this many times the thumbnail's resolution, so that each pixel is decided by its center."""


def find_mask(folder: Path, slide_id: str) -> Path | None:
    """Return the mask file of a slide in ``folder``, or None if there is none."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{slide_id}{suffix}").is_file()), None)


def read_mask(path: Path, thumbnail: Thumbnail, dimensions: tuple[int, int]) -> Mask:
    """Return the mask at ``path`` in the pixels of ``thumbnail``.

    Parameters
    ----------
    path
        GeoJSON with polygons in level-0 pixels, or a PNG of the whole slide at any size.
        In a PNG, every pixel that is not black is tissue.
    dimensions
        Width and height of the slide, level-0 pixels.

    Raises
    ------
    SlideError
        The file is neither, or the PNG has too many pixels.
    """
    if path.suffix != ".png":
        return _draw(_polygons(path), thumbnail)
    image = _read_png(path)
    height, width = thumbnail.rgb.shape[:2]
    x, y = ((np.arange(n) + 0.5) * step for n, step in zip((width, height), thumbnail.downsample, strict=True))
    columns = np.minimum(x * image.shape[1] / dimensions[0], image.shape[1] - 1).astype(int)
    rows = np.minimum(y * image.shape[0] / dimensions[1], image.shape[0] - 1).astype(int)
    return np.asarray(image[np.ix_(rows, columns)] > 0)


def _read_png(path: Path) -> NDArray[np.uint8]:
    """Return the gray levels of a PNG, (H, W). It is decoded only if its size is acceptable."""
    hint = "give a PNG of the whole slide, white where there is tissue"
    try:
        open_picture(path, ["PNG"]).close()
    except TooManyPixelsError as error:
        raise SlideError(
            f"{path}: too large for a mask ({error})",
            hint="make it smaller: a mask may have any size, for example 1/32 of the slide's width and height",
        ) from error
    except UNREADABLE as error:
        raise SlideError(f"{path}: not a PNG image", hint=hint) from error
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise SlideError(f"{path}: the image cannot be decoded", hint=hint)
    return np.asarray(image, np.uint8)


def _polygons(path: Path) -> list[Polygon]:
    try:
        features = read_features(path)
    except ArtifactError as error:
        raise SlideError(error.message, hint=error.hint) from error
    for feature in features:
        if not feature.is_area:
            raise SlideError(
                f"{path}: contains a {feature.geometry}, which encloses no area",
                hint="delete points and lines in QuPath, and export the annotations again",
            )
    return [polygon for feature in features for polygon in feature.polygons]


def _draw(polygons: list[Polygon], thumbnail: Thumbnail) -> Mask:
    height, width = thumbnail.rgb.shape[:2]
    mask = np.zeros((height * OVERSAMPLING, width * OVERSAMPLING), np.uint8)
    for polygon in polygons:
        rings = [np.rint(ring * OVERSAMPLING / thumbnail.downsample).astype(np.int32) for ring in polygon]
        left, top = np.maximum(np.min([ring.min(axis=0) for ring in rings], axis=0), 0)
        right, bottom = np.max([ring.max(axis=0) for ring in rings], axis=0) + 1
        area = mask[top : max(top, bottom), left : max(left, right)]  # so that many small polygons take little time
        if area.size:
            drawn = np.zeros_like(area)
            cv2.fillPoly(drawn, rings, 1, offset=(-int(left), -int(top)))  # even-odd rule: holes stay empty
            area |= drawn
    return np.asarray(mask[OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING] > 0)
