"""Masks drawn by the user, as GeoJSON or as PNG."""

import json

import cv2
import numpy as np
import pytest

from pipelines.core.errors import SlideError
from pipelines.slides.given_mask import find_mask, read_mask
from pipelines.slides.outlines import outlines, write_tissue_geojson
from pipelines.slides.slide import Thumbnail
from tests.slides.png_files import png_header

THUMBNAIL = Thumbnail(np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), bool), (32.0, 16.0), 8.0)
DIMENSIONS = (80 * 32, 60 * 16)


def square(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def expected(*areas):
    mask = np.zeros((60, 80), bool)
    for value, top, bottom, left, right in areas:
        mask[top:bottom, left:right] = value
    return mask


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


OUTER, HOLE, OTHER = square(320, 160, 960, 640), square(480, 240, 640, 400), square(1280, 0, 1600, 160)
WITH_HOLE = expected((True, 10, 40, 10, 30), (False, 15, 25, 15, 20))
BOTH = WITH_HOLE | expected((True, 0, 10, 40, 50))


@pytest.mark.parametrize(
    ("content", "mask"),
    [
        ({"type": "Feature", "geometry": polygon(OUTER, HOLE)}, WITH_HOLE),
        ([{"geometry": polygon(OUTER, HOLE)}, {"geometry": polygon(OTHER)}], BOTH),
        ({"features": [{"geometry": {"type": "MultiPolygon", "coordinates": [[OUTER, HOLE], [OTHER]]}}]}, BOTH),
        ({"type": "FeatureCollection", "features": []}, expected()),
    ],
    ids=["feature", "list", "multipolygon", "nothing drawn"],
)
def test_polygons_are_tissue_and_their_holes_are_not(tmp_path, content, mask):
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    drawn = read_mask(tmp_path / "a.geojson", THUMBNAIL, DIMENSIONS)
    assert (drawn ^ mask).sum() <= 4  # OpenCV also fills the boundary line


def test_outlines_written_by_five_give_the_same_mask(tmp_path):
    noise = np.random.default_rng(0).random((60, 80)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), 4) > 0.5
    write_tissue_geojson(tmp_path / "a.geojson", outlines(mask, THUMBNAIL.downsample))
    assert (read_mask(tmp_path / "a.geojson", THUMBNAIL, DIMENSIONS) != mask).mean() < 0.02


@pytest.mark.parametrize("zoom", [1, 3])
def test_a_png_of_any_size_is_tissue_where_it_is_not_black(tmp_path, zoom):
    picture = np.kron(WITH_HOLE, np.ones((zoom, zoom))).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert np.array_equal(read_mask(tmp_path / "a.png", THUMBNAIL, DIMENSIONS), WITH_HOLE)


@pytest.mark.parametrize("name", ["a.geojson", "a.png"])
@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"geometry": {"type": "Point", "coordinates": [1, 2]}}'])
def test_other_content_is_an_error_that_names_the_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(SlideError, match=name):
        read_mask(tmp_path / name, THUMBNAIL, DIMENSIONS)


def test_a_point_is_refused_with_its_type(tmp_path):
    (tmp_path / "a.geojson").write_text('{"geometry": {"type": "Point", "coordinates": [1, 2]}}')
    with pytest.raises(SlideError, match="contains a Point, which encloses no area"):
        read_mask(tmp_path / "a.geojson", THUMBNAIL, DIMENSIONS)


def test_the_mask_of_a_slide_is_found_by_its_id(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.b.png").touch()
    assert find_mask(tmp_path, "site/a.b") == tmp_path / "site" / "a.b.png"
    assert find_mask(tmp_path, "site/a") is None


@pytest.mark.parametrize(("width", "height"), [(200_000, 200_000), (2**31 - 1, 1), (20_000, 10_000)])
def test_a_png_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, width, height):
    monkeypatch.setattr("cv2.imread", lambda *_: pytest.fail("decoded"))
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    with pytest.raises(SlideError, match=r"a\.png: too large for a mask") as caught:
        read_mask(tmp_path / "a.png", THUMBNAIL, DIMENSIONS)
    assert "make it smaller" in caught.value.hint


def test_a_picture_of_another_format_is_not_a_mask(tmp_path):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))[1].tobytes())
    with pytest.raises(SlideError, match="not a PNG image"):
        read_mask(tmp_path / "a.png", THUMBNAIL, DIMENSIONS)
