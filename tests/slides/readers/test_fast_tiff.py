"""The fast TIFF reader returns the pixels of OpenSlide, or leaves the slide to it."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.core.errors import SettingsError, SlideError
from pipelines.slides import open_slide
from pipelines.slides.readers.fast_tiff import CACHE_BYTES, FastTiffReader
from pipelines.slides.readers.image_reader import ImageReader
from pipelines.slides.readers.opening import open_reader
from pipelines.slides.readers.openslide_reader import OpenSlideReader
from pipelines.slides.readers.tile_cache import TileCache
from pipelines.slides.readers.tile_codecs import SMOOTHING
from tests.slides.tiff_files import LAYOUTS, Layout, colored, jpeg, pyramid, rgb_jpeg, stained, write_tiff

WIDTH, HEIGHT = 1100, 830
REGIONS = {
    "one stored tile": (256, 256, 256, 256),
    "off the stored grid": (101, 77, 300, 203),
    "one pixel": (511, 256, 1, 1),
    "the last pixels": (WIDTH - 40, HEIGHT - 30, 40, 30),
    "across the edge": (WIDTH - 90, HEIGHT - 70, 200, 200),
    "left of and above the slide": (-64, -32, 200, 180),
    "outside": (WIDTH + 50, 20, 64, 64),
    "everything": (0, 0, WIDTH, HEIGHT),
}


def difference(a, b):
    assert a.shape == b.shape
    return np.abs(a.astype(int) - b).mean()


@pytest.fixture(scope="module")
def slides(tmp_path_factory):
    """Return one slide per layout, with a second level of downsample 4 (275 x 208)."""
    folder = tmp_path_factory.mktemp("slides")
    paths = {}
    for name, layout in LAYOUTS.items():
        paths[name] = folder / f"{len(paths)}.svs"
        write_tiff(paths[name], pyramid(stained(WIDTH, HEIGHT), 4), layout)
    return paths


@pytest.fixture
def slide_path(slides):
    return slides["4:2:0"]


@pytest.fixture
def damaged(tmp_path):
    """Return a function that overwrites one of the 5 x 4 tiles of a slide and returns its path."""
    path = tmp_path / "damaged.svs"
    stored = write_tiff(path, [stained(WIDTH, HEIGHT)], LAYOUTS["4:2:0"])

    def overwrite(index, change):
        offset, count = stored[index]
        data = bytearray(path.read_bytes())
        data[offset : offset + count] = change(bytes(data[offset : offset + count])).ljust(count, b"\0")
        path.write_bytes(data)
        return path

    return overwrite


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS.keys())
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_equal_those_of_openslide(slides, layout, region):
    fast, reference = open_reader(slides[layout]), OpenSlideReader(slides[layout])
    assert isinstance(fast, FastTiffReader)
    x, y, width, height = region
    assert difference(fast.read(x, y, 0, width, height), reference.read(x, y, 0, width, height)) < 0.01


@pytest.mark.parametrize("position", [(0, 0), (64, 128), (101, 77), (402, 33), (1000, 700)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_positions_between_pixels_of_a_level_are_interpolated_as_in_openslide(slides, layout, position):
    fast, reference = open_reader(slides[layout]), OpenSlideReader(slides[layout])
    assert difference(fast.read(*position, 1, 120, 90), reference.read(*position, 1, 120, 90)) < 0.5


@pytest.mark.parametrize("tile", [16, 240, 512])
def test_stored_tiles_of_any_size_are_read(tmp_path, tile):
    path = tmp_path / "a.svs"
    write_tiff(path, pyramid(stained(700, 530), 2), LAYOUTS["4:2:2 with tables"], tile=tile)
    fast, reference = open_reader(path), OpenSlideReader(path)
    assert isinstance(fast, FastTiffReader)
    for x, y, level in ((0, 0, 0), (33, 51, 0), (240, 100, 1)):
        assert difference(fast.read(x, y, level, 390, 300), reference.read(x, y, level, 390, 300)) < 0.5


def test_a_generic_tiff_is_read_with_the_same_metadata(tmp_path):
    path = tmp_path / "a.tiff"
    write_tiff(path, pyramid(stained(WIDTH, HEIGHT), 4), LAYOUTS["4:4:4"], description="converted")
    fast, reference = open_reader(path), OpenSlideReader(path)
    assert isinstance(fast, FastTiffReader)
    assert fast.vendor == reference.vendor == "generic-tiff"
    assert fast.level_dimensions == reference.level_dimensions == ((1100, 830), (275, 208))
    assert fast.level_downsamples == reference.level_downsamples


def test_mpp_equals_that_of_openslide(slide_path):
    fast, reference = open_reader(slide_path), OpenSlideReader(slide_path)
    assert fast.recorded_mpp == reference.recorded_mpp
    assert (fast.recorded_mpp[0].x, fast.recorded_mpp[0].y) == (0.25, 0.25)


@pytest.mark.parametrize("shrink", [2, 4, 8])
@pytest.mark.parametrize("position", [(128, 64), (101, 77), (WIDTH - 300, HEIGHT - 300)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_reduced_tiles_are_within_two_gray_levels_of_the_area_mean(slides, layout, position, shrink):
    fast, reference = open_reader(slides[layout]), OpenSlideReader(slides[layout])
    small = fast.read_scaled(*position, 0, 512, 512, (512 // shrink, 512 // shrink))
    whole = reference.read(*position, 0, 512, 512)
    mean = whole.reshape(512 // shrink, shrink, 512 // shrink, shrink, 3).mean((1, 3))
    assert small.shape == mean.shape
    assert np.abs(small - mean).mean() < 2


@pytest.mark.parametrize("shrink", [2, 4])
@pytest.mark.parametrize("layout", ["4:2:0", "4:2:0 with tables"])
def test_chroma_stored_at_half_the_size_is_smoothed_as_in_the_area_mean(tmp_path, layout, shrink):
    """Without smoothing, these tiles would differ by 3.3 and 1.8 gray levels."""
    path = write_slide(tmp_path, colored(512, 512), layout)
    fast, reference = open_reader(path), OpenSlideReader(path)
    small = fast.read_scaled(0, 0, 0, 512, 512, (512 // shrink, 512 // shrink))
    mean = reference.read(0, 0, 0, 512, 512).reshape(512 // shrink, shrink, 512 // shrink, shrink, 3).mean((1, 3))
    assert np.abs(small - mean).mean() < 1.5


def write_slide(folder, rgb, layout):
    write_tiff(folder / "a.svs", [rgb], LAYOUTS[layout])
    return folder / "a.svs"


def test_the_smoothing_factors_are_those_of_the_kernel_on_mirrored_blocks():
    """The kernel multiplies each DCT basis function by a constant; checked for some of them, in zigzag order."""
    zigzag = {0: (0, 0), 1: (0, 1), 2: (1, 0), 3: (2, 0), 4: (1, 1), 5: (0, 2), 35: (7, 0), 63: (7, 7)}
    for index, (row, column) in zigzag.items():
        vertical, horizontal = (np.cos(np.pi * k * (np.arange(8) + 0.5) / 8) for k in (row, column))
        basis = np.outer(vertical, horizontal)
        smooth = cv2.sepFilter2D(basis, -1, KERNEL, KERNEL, borderType=cv2.BORDER_REFLECT)
        assert smooth == pytest.approx(SMOOTHING[index] * basis, abs=1e-9)


KERNEL = np.array([1 / 8, 3 / 4, 1 / 8])


def test_the_last_column_of_an_odd_width_is_averaged_with_white(tmp_path):
    path = tmp_path / "a.svs"
    write_tiff(path, [stained(601, 300)], LAYOUTS["4:4:4"])
    area = (500, 0, 0, 200, 200)  # the slide ends within the 51st column of the reduced tile
    small, mean = (r.read_scaled(*area, (100, 100)).astype(int) for r in (open_reader(path), OpenSlideReader(path)))
    assert np.abs(small - mean).mean((0, 2)).max() < 3


def test_a_tile_at_half_the_resolution_is_decoded_at_half_the_size(slide_path, monkeypatch):
    reader = open_reader(slide_path)
    decoded = []
    codec = type(reader._levels[0].codec)
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda *args: decoded.append(decode(*args)) or decoded[-1])
    reader.read_scaled(0, 0, 0, 512, 512, (256, 256))
    assert [tile.shape for tile in decoded] == [(128, 128, 3)] * 4


@pytest.mark.parametrize("mpp", [0.25, 0.263, 0.2485])
@pytest.mark.parametrize("position", [(0, 0), (1, 1), (0, 1)])
def test_tiles_at_an_exact_mpp_equal_those_of_openslide(slide_path, monkeypatch, mpp, position):
    size_level0 = round(256 * 0.5 / mpp)
    corner = (position[0] * size_level0, position[1] * size_level0 // 2)
    with open_slide(slide_path) as slide:
        fast = slide.read_tile(*corner, size_level0, 256)
    monkeypatch.setenv("FIVE_READER", "openslide")
    with open_slide(slide_path) as slide:
        assert difference(fast, slide.read_tile(*corner, size_level0, 256)) < 2


def test_openslide_can_be_forced(slide_path, monkeypatch):
    monkeypatch.setenv("FIVE_READER", "openslide")
    assert isinstance(open_reader(slide_path), OpenSlideReader)


def test_an_unknown_reader_is_an_error(slide_path, monkeypatch):
    monkeypatch.setenv("FIVE_READER", "cucim")
    with pytest.raises(SettingsError, match="FIVE_READER is 'cucim'"):
        open_reader(slide_path)


DAMAGES = {
    "second half zero": lambda data: data[: len(data) // 2],
    "ends early": lambda data: data[: len(data) // 2] + b"\xff\xd9",
    "all zero": lambda _: b"",
    "noise inside": lambda data: data[:1500] + np.random.default_rng(0).bytes(300) + data[1800:],
    "a smaller image": lambda _: jpeg("420")(np.zeros((64, 64, 3), np.uint8)),
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize("shrink", [1, 2])
def test_a_damaged_tile_is_an_error_in_its_region_only(damaged, change, shrink):
    path = damaged(1, change)
    reader = open_reader(path)
    assert isinstance(reader, FastTiffReader)
    size = (256 // shrink, 256 // shrink)
    with pytest.raises(SlideError, match=r"damaged\.svs: unreadable at x=256, y=0"):
        reader.read_scaled(256, 0, 0, 256, 256, size)
    assert difference(reader.read(0, 0, 0, 256, 256), stained(WIDTH, HEIGHT)[:256, :256]) < 5
    assert reader.read_scaled(512, 0, 0, 256, 256, size).shape == (*size, 3)


def test_damaged_jpeg_2000_is_an_error(tmp_path, capfd):
    path = tmp_path / "a.svs"
    offset, count = write_tiff(path, [stained(WIDTH, HEIGHT)], LAYOUTS["JPEG 2000"])[0]
    data = path.read_bytes()
    path.write_bytes(data[: offset + count // 2] + bytes(count - count // 2) + data[offset + count :])
    reader = open_reader(path)
    assert isinstance(reader, FastTiffReader)
    with pytest.raises(SlideError, match="x=0, y=0: the JPEG 2000 data are damaged"):
        reader.read(0, 0, 0, 256, 256)
    assert capfd.readouterr().err == ""


def test_a_tile_beyond_the_end_of_the_file_is_an_error(slide_path, tmp_path):
    path = tmp_path / "copy.svs"
    path.write_bytes(slide_path.read_bytes())
    reader = open_reader(path)
    path.write_bytes(b"")
    with pytest.raises(SlideError, match="the file ends before the end of this tile"):
        reader.read(0, 0, 0, 10, 10)


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        pytest.param(Layout(lambda rgb: rgb.tobytes(), 1, 2), {}, id="not compressed"),
        pytest.param(LAYOUTS["4:2:0"], {"missing": 2}, id="missing tile"),
        pytest.param(Layout(rgb_jpeg, 7, 6), {}, id="tiles and directory disagree about color"),
    ],
)
def test_unusual_slides_are_left_to_openslide(tmp_path, layout, options):
    path = tmp_path / "a.svs"
    write_tiff(path, [stained(600, 500)], layout, **options)
    assert isinstance(open_reader(path), OpenSlideReader)


def test_a_tiff_in_strips_is_read_as_a_plain_image(tmp_path):
    Image.fromarray(stained(300, 200)).save(tmp_path / "a.tiff", compression="jpeg")
    assert isinstance(open_reader(tmp_path / "a.tiff"), ImageReader)


@pytest.fixture(scope="module")
def readers(slides):
    """Return two readers of one slide, the second without a cache."""
    cached, uncached = open_reader(slides["4:2:0"]), open_reader(slides["4:2:0"])
    uncached._cache = TileCache(0)
    return cached, uncached


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(-100, WIDTH + 100),
    y=st.integers(-100, HEIGHT + 100),
    level=st.integers(0, 1),
    size=st.integers(1, 300),
    shrink=st.sampled_from([1, 2, 3, 4]),
)
def test_the_cache_does_not_change_pixels(readers, x, y, level, size, shrink):
    edge = max(1, size // shrink)
    a, b = (reader.read_scaled(x, y, level, size, size, (edge, edge)) for reader in readers)
    np.testing.assert_array_equal(a, b)


def test_neighboring_tiles_off_the_grid_decode_each_stored_tile_once(slide_path, monkeypatch):
    reader = open_reader(slide_path)
    reads = []
    compressed = reader._compressed
    monkeypatch.setattr(reader, "_compressed", lambda *position: reads.append(position) or compressed(*position))
    reader._cache = TileCache(CACHE_BYTES)
    for y in range(100, HEIGHT, 200):
        for x in range(100, WIDTH, 200):
            reader.read(x, y, 0, 200, 200)
    assert len(reads) == len(set(reads)) == 5 * 4


def test_a_reader_can_be_shared_by_threads(slide_path):
    reader = open_reader(slide_path)
    corners = [(x, y) for y in range(0, HEIGHT, 90) for x in range(0, WIDTH, 90)]
    with ThreadPoolExecutor(4) as pool:
        tiles = list(pool.map(lambda corner: reader.read(*corner, 0, 100, 100), corners))
    whole = cv2.copyMakeBorder(
        reader.read(0, 0, 0, WIDTH, HEIGHT), 0, 200, 0, 200, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    for (x, y), tile in zip(corners, tiles, strict=True):
        np.testing.assert_array_equal(tile, whole[y : y + 100, x : x + 100])
