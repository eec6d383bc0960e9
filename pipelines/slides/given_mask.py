"""Tissue that somebody drew: a QuPath GeoJSON, or a mask picture, in place of what would be found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipelines.core.errors import SlideError
from pipelines.slides.slide import Thumbnail
from pipelines.slides.tissue import Mask

SUFFIXES = (".geojson", ".json", ".png")
"""Files that are looked for, first ones first."""
FINE = 4
"""Polygons are drawn this much finer than the thumbnail, so that a pixel is judged by its middle."""


def find_mask(folder: Path, slide_id: str) -> Path | None:
    """Return the mask file of a slide in ``folder``, None if there is none."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{slide_id}{suffix}").is_file()), None)


def read_mask(path: Path, thumbnail: Thumbnail, dimensions: tuple[int, int]) -> Mask:
    """Return the mask at ``path`` in the pixels of ``thumbnail``.

    Parameters
    ----------
    path
        GeoJSON with polygons in level-0 pixels, or a PNG of the whole slide at any size,
        not black where there is tissue.
    dimensions
        Width and height of the slide, pixels at level 0.

    Raises
    ------
    SlideError
        The file is neither.
    """
    if path.suffix != ".png":
        return _drawn(list(_polygons(path)), thumbnail)
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SlideError(f"{path}: not a picture", hint="give a PNG of the whole slide, white where there is tissue")
    height, width = thumbnail.rgb.shape[:2]
    x, y = ((np.arange(n) + 0.5) * step for n, step in zip((width, height), thumbnail.downsample, strict=True))
    columns = np.minimum(x * picture.shape[1] / dimensions[0], picture.shape[1] - 1).astype(int)
    rows = np.minimum(y * picture.shape[0] / dimensions[1], picture.shape[0] - 1).astype(int)
    return np.asarray(picture[np.ix_(rows, columns)] > 0)


def _polygons(path: Path) -> Iterator[list[list[list[float]]]]:
    """Yield the polygons (rings of corners) of a GeoJSON file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        features = found if isinstance(found, list) else found.get("features", [found])
        for feature in features:
            yield from _of_geometry(feature["geometry"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise SlideError(
            f"{path}: not GeoJSON with polygons only: {reason}",
            hint="delete points and lines in QuPath, and export annotations as GeoJSON (FeatureCollection, pixels)",
        ) from error


def _of_geometry(geometry: Mapping[str, Any]) -> Iterator[list[list[list[float]]]]:
    if geometry["type"] == "Polygon":
        yield geometry["coordinates"]
    elif geometry["type"] == "MultiPolygon":
        yield from geometry["coordinates"]
    else:
        raise ValueError(f"a {geometry['type']} encloses no area")


def _drawn(polygons: list[list[list[list[float]]]], thumbnail: Thumbnail) -> Mask:
    height, width = thumbnail.rgb.shape[:2]
    whole = np.zeros((height * FINE, width * FINE), np.uint8)
    for polygon in polygons:
        one = np.zeros_like(whole)
        rings = [
            np.rint(np.asarray(ring, float)[:, :2] * FINE / thumbnail.downsample).astype(np.int32) for ring in polygon
        ]
        cv2.fillPoly(one, rings, 1)  # even-odd: holes stay open
        whole |= one
    return np.asarray(whole[FINE // 2 :: FINE, FINE // 2 :: FINE] > 0)
