"""Slide files, pictures and masks of strangers, read in a process with 1 GB of memory beyond what the program needs."""

import json
import struct

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.dicom import series_uid
from pipelines.core.geojson import read_features
from pipelines.slides.slide_files import slide_files
from tests.core.dicom_files import write_dicom
from tests.properties.damage import damaged, json_values, odd_numbers, odd_text
from tests.properties.isolated import IsolatedReader
from tests.properties.readers import examples, reads_or_refuses
from tests.slides.png_files import png_header
from tests.slides.readers.test_ome_tiff import write_ome
from tests.slides.tiff_files import LAYOUTS, pyramid, stained, write_tiff

RGB = stained(280, 200)
HEAD = 700
"""Bytes at either end of a file that are damaged most often: TIFF directories are at its end."""


def tiff(layout):
    return lambda path: write_tiff(path, pyramid(RGB, 2), LAYOUTS[layout], tile=128)


def lossless(**options):
    def write(path):
        with tifffile.TiffWriter(path) as file:
            for number, rgb in enumerate(pyramid(RGB, 4)):
                file.write(rgb, photometric="rgb", metadata=None, subfiletype=int(number > 0), **options)

    return write


def picture(path):
    Image.fromarray(RGB).save(path, dpi=(25_400 * 4, 25_400 * 4))


SLIDES = {
    "jpeg.svs": tiff("4:2:0"),
    "tables.tif": tiff("unlabelled RGB with tables"),
    "jp2.svs": tiff("JPEG 2000"),
    "lossless.tif": lossless(tile=(128, 128)),
    "deflate.tif": lossless(tile=(128, 128), compression="zlib"),
    "strips.tif": lossless(rowsperstrip=40),
    "tiles.ome.tif": lambda path: write_ome(path, RGB, levels=(2,), tile=(128, 128)),
    "deflate.ome.tif": lambda path: write_ome(path, RGB, levels=(2,), tile=(128, 128), compression="zlib"),
    "planes.ome.tif": lambda path: write_ome(path, RGB, levels=(2,), rowsperstrip=50, planarconfig="separate"),
    "picture.png": picture,
    "picture.jpg": picture,
    "series.dcm": lambda path: write_dicom(path, "1.2.3"),
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Return name -> content of the files in `SLIDES`."""
    folder = tmp_path_factory.mktemp("valid")
    for name, write in SLIDES.items():
        write(folder / name)
    return {name: (folder / name).read_bytes() for name in SLIDES}


@pytest.fixture(scope="module")
def slide_reader():
    reader = IsolatedReader("slide")
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def mask_reader():
    reader = IsolatedReader("mask")
    yield reader
    reader.close()


@pytest.mark.parametrize("name", [name for name in SLIDES if not name.endswith(".dcm")])
def test_a_valid_slide_is_read(tmp_path, valid, slide_reader, name):
    (tmp_path / name).write_bytes(valid[name])
    assert slide_reader.read(tmp_path / name) == ""


@pytest.mark.parametrize("name", SLIDES)
@given(data=st.data())
@examples(40)
def test_any_damage_to_a_slide_gives_pixels_or_one_error(tmp_path, valid, slide_reader, name, data):
    (tmp_path / name).write_bytes(data.draw(damaged(valid[name], head=HEAD)))
    slide_reader.read(tmp_path / name)


CLAIMS = {
    "picture.png": png_header(13_000, 13_000),
    "wide.png": png_header(170_000_000, 1),
    "large.png": png_header(2**31 - 1, 2**31 - 1),
}


def claiming_tiff(width, height, tile, *, order="<"):
    """Return a TIFF of some hundred bytes that claims to have one stored tile for an image of any size."""
    tags = [
        (256, width),
        (257, height),
        (258, 8),
        (259, 7),
        (262, 6),
        (277, 3),
        (322, tile),
        (323, tile),
        (324, 8),
        (325, 9),
    ]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(400)


for _edge in (65_536, 2**31 - 16):
    CLAIMS |= {
        f"tile-{_edge}.tif": claiming_tiff(_edge, _edge, _edge),
        f"tile-{_edge}.svs": claiming_tiff(_edge, _edge, _edge, order=">"),
        f"tile-{_edge}.ome.tif": claiming_tiff(_edge, _edge, _edge),
        f"tiles-{_edge}.svs": claiming_tiff(_edge, _edge, 256),
        f"tiles-{_edge}.ome.tif": claiming_tiff(_edge, _edge, 256),
    }


@pytest.mark.parametrize("name", CLAIMS)
def test_a_small_slide_that_claims_to_be_huge_is_one_error(tmp_path, name):
    (tmp_path / name).write_bytes(CLAIMS[name])
    reader = IsolatedReader("slide", megabytes=2_000)
    assert str(tmp_path / name) in reader.read(tmp_path / name)
    reader.close()


@pytest.mark.parametrize("name", ["jpeg.svs", "jp2.svs"])
def test_a_stored_tile_that_claims_another_size_is_not_decoded(tmp_path, valid, slide_reader, name):
    marker, at = (b"\xff\xc0", 5) if name == "jpeg.svs" else (b"\xff\x51", 6)
    size = struct.pack(">HH", 65_500, 65_500) if name == "jpeg.svs" else struct.pack(">II", 2**31 - 1, 2**31 - 1)
    pieces = valid[name].split(marker)
    claimed = marker.join([pieces[0], *(piece[: at - 2] + size + piece[at - 2 + len(size) :] for piece in pieces[1:])])
    (tmp_path / name).write_bytes(claimed)
    assert "no part of the slide can be read" in slide_reader.read(tmp_path / name)


def square(left, top, edge):
    return [[left, top], [left + edge, top], [left + edge, top + edge], [left, top + edge], [left, top]]


GEOJSON = {
    "type": "FeatureCollection",
    "features": [
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [square(10, 10, 900), square(20, 20, 50)]}},
        {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": [[square(2000, 90, 90)]]}},
    ],
}
corners = st.lists(json_values | st.lists(odd_numbers | st.floats(-100, 5_000), max_size=3), max_size=4)
polygons = st.lists(corners, max_size=2) | json_values
geometries = st.fixed_dictionaries(
    {"type": st.sampled_from(["Polygon", "MultiPolygon", "Point"]) | json_values},
    optional={"coordinates": polygons | st.lists(polygons, max_size=2)},
)
features = st.fixed_dictionaries({"geometry": geometries | json_values}, optional={"properties": json_values})
any_geojson = json_values | features | st.lists(features | json_values, max_size=3)


@given(damaged(json.dumps(GEOJSON).encode()) | any_geojson.map(json.dumps).map(str.encode))
@examples(150)
def test_any_geojson_gives_a_mask_or_one_error(tmp_path, mask_reader, content):
    (tmp_path / "a.geojson").write_bytes(content)
    reads_or_refuses(read_features, tmp_path / "a.geojson")
    mask_reader.read(tmp_path / "a.geojson")


def test_many_small_polygons_take_little_time(tmp_path, mask_reader):
    content = {"geometry": {"type": "MultiPolygon", "coordinates": [[square(n % 4000, 5, 3)] for n in range(20_000)]}}
    (tmp_path / "a.geojson").write_text(json.dumps(content))
    assert mask_reader.read(tmp_path / "a.geojson") == ""


@given(data=st.data())
@examples(60)
def test_any_damage_to_a_mask_picture_gives_a_mask_or_one_error(tmp_path, mask_reader, data):
    valid = cv2.imencode(".png", np.eye(90, 120, dtype=np.uint8) * 255)[1].tobytes()
    (tmp_path / "a.png").write_bytes(data.draw(st.binary(max_size=99) | damaged(valid, head=60)))
    mask_reader.read(tmp_path / "a.png")


@pytest.mark.parametrize("width", [13_000, 2**31 - 1])
def test_a_small_mask_that_claims_to_be_huge_is_one_error(tmp_path, mask_reader, width):
    (tmp_path / "a.png").write_bytes(png_header(width, width))
    assert "a.png" in mask_reader.read(tmp_path / "a.png")


@given(data=st.data())
@examples(200)
def test_any_damage_to_a_dicom_file_gives_a_series_or_none(tmp_path, valid, data):
    (tmp_path / "a.dcm").write_bytes(data.draw(damaged(valid["series.dcm"])))
    reads_or_refuses(series_uid, tmp_path / "a.dcm")


@given(st.lists(st.tuples(odd_text, odd_text).map("=".join) | odd_text, max_size=4).map("\n".join), st.booleans())
@examples(80)
def test_any_index_of_a_hamamatsu_slide_lists_files(tmp_path, text, with_path):
    (tmp_path / "a.vms").write_bytes(
        (text + ("\nImageFile=a.vms" if with_path else "")).encode("utf-8", "surrogatepass")
    )
    assert reads_or_refuses(slide_files, tmp_path / "a.vms") == [tmp_path / "a.vms"]
