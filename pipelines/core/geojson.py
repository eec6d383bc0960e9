"""Read polygons from GeoJSON files, and write them so that QuPath can import them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ArtifactError
from pipelines.core.json_text import parse_json
from pipelines.core.sealed_json import seal

Ring = NDArray[np.float64]
"""(K, 2) corners of a closed line, x then y, level-0 pixels. The line runs from the last corner back to the first."""
Polygon = list[Ring]
"""Outer ring, followed by its holes."""

MAX_COORDINATE = 10_000_000
"""Maximum coordinate, level-0 pixels; the largest slides have a million."""


@dataclass(frozen=True)
class Feature:
    """One feature of a GeoJSON file."""

    geometry: str
    """Type of the geometry, for example ``Polygon``."""
    polygons: list[Polygon]
    """Polygons of a ``Polygon`` or ``MultiPolygon``; empty for other geometries."""
    class_name: str | None
    """QuPath classification."""

    @property
    def is_area(self) -> bool:
        """True for polygons, False for points and lines."""
        return self.geometry in ("Polygon", "MultiPolygon")


def read_features(path: Path) -> list[Feature]:
    """Return the features of a GeoJSON file: a FeatureCollection, a single Feature, or a list of features.

    Raises
    ------
    ArtifactError
        The file cannot be read, or is not GeoJSON with features.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        features = content if isinstance(content, list) else content.get("features", [content])
        return [_feature(feature) for feature in features]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ArtifactError(
            f"{path}: not GeoJSON with features ({type(error).__name__}: {error})",
            hint="export it again; in QuPath, export the annotations as a FeatureCollection",
        ) from error


def _feature(feature: dict[str, Any]) -> Feature:
    geometry = feature["geometry"]
    kind, coordinates = geometry["type"], geometry.get("coordinates")
    polygons = {"Polygon": [coordinates], "MultiPolygon": coordinates}.get(kind, [])
    name = ((feature.get("properties") or {}).get("classification") or {}).get("name")
    return Feature(
        geometry=kind,
        polygons=[_polygon(rings) for rings in polygons],
        class_name=None if name is None else str(name),
    )


def _polygon(rings: list[list[list[float]]]) -> Polygon:
    if not rings:
        raise ValueError("a polygon without rings")
    return [_opened(_corners(ring)) for ring in rings]


def _corners(ring: list[list[float]]) -> Ring:
    corners: Ring = np.asarray(ring, np.float64)[:, :2]
    if not len(corners) or corners.shape[1] != 2 or not (abs(corners) <= MAX_COORDINATE).all():
        raise ValueError(f"a corner without x and y, or beyond {MAX_COORDINATE:,}")
    return corners


def _opened(ring: Ring) -> Ring:
    """Return ``ring`` without the last corner if it repeats the first, as GeoJSON requires."""
    return ring[:-1] if len(ring) > 1 and np.array_equal(ring[0], ring[-1]) else ring


def write_polygons(path: Path, polygons: Sequence[Polygon], class_name: str, color: Sequence[int]) -> None:
    """Write ``polygons`` as a FeatureCollection with one QuPath annotation per polygon.

    The file has no ``crs`` member: coordinates are level-0 pixels, as QuPath expects. A further member
    is a digest of the content, which shows whether the file was edited.

    Parameters
    ----------
    color
        Red, green and blue of the class in QuPath, 0 to 255.
    """
    collection = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [_closed(ring) for ring in polygon]},
                "properties": {
                    "objectType": "annotation",
                    "classification": {"name": class_name, "color": list(color)},
                },
            }
            for polygon in polygons
        ],
    }
    path.write_text(json.dumps(seal(collection), separators=(",", ":")), encoding="utf-8")


def _closed(ring: Ring) -> list[list[float]]:
    """Return the corners with one decimal, the first repeated at the end."""
    corners: list[list[float]] = np.round(ring, 1).tolist()
    return [*corners, corners[0]]
