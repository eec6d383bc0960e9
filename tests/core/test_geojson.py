"""Polygons are read from every accepted form of GeoJSON and written as QuPath imports them."""

import json

import numpy as np
import pytest

from pipelines.core.errors import ArtifactError
from pipelines.core.geojson import read_features, write_polygons

SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
HOLE = [[2, 2], [2, 4], [5, 4], [2, 2]]
POLYGON = {"type": "Polygon", "coordinates": [SQUARE, HOLE]}
FEATURE = {"type": "Feature", "geometry": POLYGON, "properties": {"classification": {"name": "Tissue"}}}


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content", [FEATURE, [FEATURE], {"type": "FeatureCollection", "features": [FEATURE]}], ids=["one", "list", "all"]
)
def test_a_feature_a_list_and_a_collection_hold_the_same_polygons(tmp_path, content):
    [feature] = read_features(write_json(tmp_path / "a.geojson", content))
    assert feature.class_name == "Tissue"
    [[outer, hole]] = feature.polygons
    assert outer.tolist() == SQUARE[:-1]
    assert hole.tolist() == HOLE[:-1]


def test_a_multipolygon_holds_several_polygons(tmp_path):
    geometry = {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [SQUARE]]}
    [feature] = read_features(write_json(tmp_path / "a.geojson", {"geometry": geometry}))
    assert [len(polygon) for polygon in feature.polygons] == [2, 1]


def test_points_have_no_polygons(tmp_path):
    point = {"geometry": {"type": "Point", "coordinates": [1, 2]}}
    [feature] = read_features(write_json(tmp_path / "a.geojson", point))
    assert not feature.is_area
    assert feature.polygons == []


NOT_POLYGONS = ["null", "5", "[]", "[[]]", "[[1, 2]]"]


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", '{"geometry": null}']
    + [f'{{"geometry": {{"type": "Polygon", "coordinates": {wrong}}}}}' for wrong in NOT_POLYGONS],
)
def test_other_content_is_an_error_that_names_the_file(tmp_path, content):
    (tmp_path / "a.geojson").write_text(content)
    with pytest.raises(ArtifactError, match=r"a\.geojson: not GeoJSON with features"):
        read_features(tmp_path / "a.geojson")


def test_written_polygons_are_read_back_with_one_decimal(tmp_path):
    ring = np.array([[0.04, 0], [10.06, 0], [10, 9.5]])
    write_polygons(tmp_path / "a.geojson", [[ring]], "Tissue", (1, 2, 3))
    [feature] = read_features(tmp_path / "a.geojson")
    assert feature.class_name == "Tissue"
    assert feature.polygons[0][0].tolist() == [[0, 0], [10.1, 0], [10, 9.5]]


def test_written_bytes_are_those_of_a_compact_qupath_collection(tmp_path):
    write_polygons(tmp_path / "a.geojson", [[np.array([[0.0, 0], [1, 0], [1, 1]])]], "Tissue", (34, 139, 34))
    assert (tmp_path / "a.geojson").read_text() == (
        '{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Polygon",'
        '"coordinates":[[[0.0,0.0],[1.0,0.0],[1.0,1.0],[0.0,0.0]]]},"properties":{"objectType":"annotation",'
        '"classification":{"name":"Tissue","color":[34,139,34]}}}],"digest":"44b81057be0da371"}'
    )
