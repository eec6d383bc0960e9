"""Outlines of a tissue mask as polygons."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.geojson import Polygon, Ring, write_polygons

TISSUE_COLOR = (34, 139, 34)
"""Red, green and blue of the class ``Tissue`` in QuPath."""


def outlines(mask: NDArray[np.bool_], downsample: tuple[float, float]) -> list[Polygon]:
    """Return the connected pieces of ``mask`` as polygons in level-0 pixels, along the edges of mask pixels.

    Parameters
    ----------
    mask
        (H, W).
    downsample
        Level-0 pixels per mask pixel, x and y.
    """
    # OpenCV's contours run through pixel centers. Doubling the mask gives every edge two pixels, which
    # shows on which side the contour runs; halving with rounding up then moves the contour onto the edge.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = [_ring(contour) * downsample for contour in contours]
    polygons: dict[int, Polygon] = {}
    holes: list[tuple[int, Ring]] = []
    for index, ring in enumerate(rings):
        parent = int(hierarchy[0, index, 3])
        if parent < 0:
            polygons[index] = [ring]
        else:
            holes.append((parent, ring))
    for parent, ring in holes:
        polygons[parent].append(ring)
    return list(polygons.values())


def _ring(contour: NDArray[np.int32]) -> Ring:
    corners = (contour[:, 0].astype(np.float64) + 1) // 2
    differs = np.any(corners != np.roll(corners, 1, axis=0), axis=1)
    return np.asarray(corners[differs] if differs.any() else corners)


def write_tissue_geojson(path: Path, polygons: list[Polygon]) -> None:
    """Write the outlines of the tissue to ``path``."""
    write_polygons(path, polygons, "Tissue", TISSUE_COLOR)
