"""Outlines run along pixel edges and reproduce the mask when filled."""

import json

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.slides.outlines import outlines, write_tissue_geojson


def area(ring):
    x, y = ring[:, 0], ring[:, 1]
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


def test_a_rectangle_has_its_four_corners_in_level_0_pixels():
    mask = np.zeros((20, 30), bool)
    mask[3:9, 5:15] = True
    [[ring]] = outlines(mask, (32.0, 16.0))
    assert sorted(map(tuple, ring.tolist())) == [(160, 48), (160, 144), (480, 48), (480, 144)]


def test_a_hole_is_a_second_ring_of_the_piece_around_it():
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:9] = False
    mask[15:18, 15:18] = True
    by_size = sorted(outlines(mask, (1.0, 1.0)), key=len)
    assert [len(polygon) for polygon in by_size] == [1, 2]
    assert [area(ring) for ring in by_size[1]] == [100, 12]


def test_no_tissue_has_no_outlines():
    assert outlines(np.zeros((5, 5), bool), (1.0, 1.0)) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_filled_outlines_reproduce_the_mask(seed):
    noise = np.random.default_rng(seed).random((40, 50)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), 3) > 0.5
    drawn = np.zeros((40 * 8, 50 * 8), np.uint8)
    rings = [np.round(ring).astype(np.int32) for polygon in outlines(mask, (8.0, 8.0)) for ring in polygon]
    cv2.fillPoly(drawn, rings, 1)
    centers = drawn[4::8, 4::8].astype(bool)
    assert (centers != mask).mean() < 0.02


def test_the_geojson_can_be_imported_by_qupath(tmp_path):
    mask = np.zeros((20, 20), bool)
    mask[2:12, 2:12] = True
    mask[5:8, 5:9] = False
    write_tissue_geojson(tmp_path / "a.geojson", outlines(mask, (16.0, 16.0)))
    collection = json.loads((tmp_path / "a.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    assert "crs" not in collection
    [feature] = collection["features"]
    assert feature["geometry"]["type"] == "Polygon"
    assert len(feature["geometry"]["coordinates"]) == 2
    assert all(ring[0] == ring[-1] for ring in feature["geometry"]["coordinates"])
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"]["name"] == "Tissue"
