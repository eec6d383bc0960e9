"""Outlines of a tissue mask, and GeoJSON that QuPath imports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""(K, 2) corners of a closed line, x then y; the last is joined to the first."""
Polygon = list[Ring]
"""Outer ring, then its holes."""

TISSUE_COLOUR = [34, 139, 34]


def outlines(mask: NDArray[np.bool_], downsample: tuple[float, float]) -> list[Polygon]:
    """Return the pieces of ``mask`` as polygons in level-0 pixels, along the edges of its pixels.

    Parameters
    ----------
    mask
        (H, W).
    downsample
        Level-0 pixels per mask pixel, x and y.
    """
    # OpenCV's contours run through pixel centres. On the doubled mask the two pixels of an edge
    # tell on which side the contour runs, so halving (rounding up) puts it on the edge.
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
    moved = np.any(corners != np.roll(corners, 1, axis=0), axis=1)
    return np.asarray(corners[moved] if moved.any() else corners)


def feature_collection(polygons: Sequence[Polygon], name: str, colour: Sequence[int]) -> dict[str, Any]:
    """Return polygons as a GeoJSON FeatureCollection of QuPath annotations, one a piece.

    No ``crs`` member: coordinates are pixels at level 0, which is what QuPath expects.
    """
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [_closed(ring) for ring in polygon]},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": name, "color": list(colour)},
                },
            }
            for polygon in polygons
        ],
    }


def write_tissue_geojson(path: Path, polygons: Sequence[Polygon]) -> None:
    """Write the outlines of the tissue to ``path``."""
    collection = feature_collection(polygons, "Tissue", TISSUE_COLOUR)
    path.write_text(json.dumps(collection, separators=(",", ":")), encoding="utf-8")


def _closed(ring: Ring) -> list[list[float]]:
    corners: list[list[float]] = np.round(ring, 1).tolist()
    return [*corners, corners[0]]
