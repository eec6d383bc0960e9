"""Contents of a GeoJSON file of outlines, by this project or by QuPath."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipelines.contents.contents import Contents
from pipelines.core.errors import ArtifactError

Ring = Sequence[Sequence[float]]
"""Corners of a closed line; the last is the first."""


def geojson_contents(path: Path) -> Contents:
    """Return what a GeoJSON file holds: polygons, their holes, corners and area, and how many of each class.

    Raises
    ------
    ArtifactError
        Not GeoJSON with features.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        features = found if isinstance(found, list) else found["features"]
        polygons = [polygon for feature in features for polygon in _polygons(feature["geometry"])]
        classes = Counter(_class(feature) for feature in features)
        facts = {
            "features": len(features),
            "polygons": len(polygons),
            "holes": sum(len(polygon) - 1 for polygon in polygons),
            "corners": sum(len(ring) - 1 for polygon in polygons for ring in polygon),
            "area_in_pixels": round(sum(_area(polygon[0]) - sum(map(_area, polygon[1:])) for polygon in polygons)),
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ArtifactError(
            f"{path}: not GeoJSON with features ({type(error).__name__})", hint="make it or export it again"
        ) from error
    return Contents(str(path), "outlines", facts, {"class": [{"class": name, "n": n} for name, n in classes.items()]})


def _polygons(geometry: dict[str, Any]) -> list[Sequence[Ring]]:
    several = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}
    return list(several.get(geometry["type"], []))


def _class(feature: dict[str, Any]) -> str | None:
    name = ((feature.get("properties") or {}).get("classification") or {}).get("name")
    return None if name is None else str(name)


def _area(ring: Ring) -> float:
    """Return the area within a ring (the shoelace formula)."""
    twice = sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
    return abs(twice) / 2
