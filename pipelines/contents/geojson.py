"""Summary of a GeoJSON file with outlines, written by this project or by QuPath."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

from pipelines.contents.contents import Contents
from pipelines.core.geojson import Ring, read_features


def geojson_contents(path: Path) -> Contents:
    """Return the number of polygons, holes and corners of a GeoJSON file, its area, and its features per class.

    Raises
    ------
    ArtifactError
        The file is not GeoJSON with features.
    """
    features = read_features(path)
    polygons = [polygon for feature in features for polygon in feature.polygons]
    classes = Counter(feature.class_name for feature in features)
    facts = {
        "features": len(features),
        "polygons": len(polygons),
        "holes": sum(len(polygon) - 1 for polygon in polygons),
        "corners": sum(len(ring) for polygon in polygons for ring in polygon),
        "area_in_pixels": round(sum(_area(polygon[0]) - sum(map(_area, polygon[1:])) for polygon in polygons)),
    }
    return Contents(str(path), "outlines", facts, {"class": [{"class": name, "n": n} for name, n in classes.items()]})


def _area(ring: Ring) -> float:
    """Return the area within a ring (shoelace formula)."""
    corners = ring.tolist()
    twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise([*corners, corners[0]]))
    return float(abs(twice) / 2)
