"""Tiles cover the same area for every scan resolution and pyramid; damage affects only its own region."""

import numpy as np
import pytest

from pipelines.core.errors import MissingMppError, SlideError
from pipelines.slides import open_slide
from pipelines.slides.grid import tile_grid
from pipelines.slides.slide import Slide
from pipelines.synthetic.slide_file import write_pyramidal_slide
from tests.slide_files import destroy_tile, tissue_drawing, write_lossless_slide


def micron_ramp(mpp: float, extent: float = 255.0) -> np.ndarray:
    """Return a slide of ``extent`` microns: red is the x position, green the y position, one gray level per micron.

    Random rounding keeps fractions of a level on average.
    """
    position = (np.arange(int(extent / mpp)) + 0.5) * mpp
    rgb = np.zeros((len(position), len(position), 3))
    rgb[..., 0] = position[None, :]
    rgb[..., 1] = position[:, None]
    return np.floor(rgb + np.random.default_rng(0).random(rgb.shape)).astype(np.uint8)


@pytest.mark.parametrize("target_mpp", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("mpp", "levels"),
    [(0.25, (1,)), (0.25, (1, 4)), (0.25, (1, 2, 4)), (0.5, (1,)), (0.5, (1, 2)), (0.263, (1,)), (0.263, (1, 4))],
)
def test_a_tile_covers_the_same_microns_at_any_scan_resolution(tmp_path, mpp, levels, target_mpp):
    path = write_lossless_slide(tmp_path / "a.tif", micron_ramp(mpp), mpp, levels)
    tile_size = round(28 / target_mpp)  # 28 um
    rounding = 0.3 + target_mpp / 2  # of gray levels, and of positions to whole pixels
    with open_slide(path) as slide:
        grid = tile_grid(slide.dimensions, tile_size, 0, target_mpp / slide.micron_scale.mean)
        for x, y, row, col in zip(grid.x, grid.y, grid.row, grid.col, strict=True):
            tile = slide.read_tile(int(x), int(y), grid.size, tile_size)
            center = tile[..., 0].mean(), tile[..., 1].mean()
            assert center == pytest.approx((28 * col + 14, 28 * row + 14), abs=rounding)
            step = np.diff(tile[..., 0].mean(axis=0)).mean()
            assert step == pytest.approx(target_mpp, rel=0.04)


@pytest.mark.parametrize(
    ("wanted", "level"), [(1.0, 0), (3.9, 0), (3.97, 1), (4, 1), (15, 1), (16, 2), (99, 2), (0.5, 0)]
)
def test_the_coarsest_level_that_is_fine_enough_is_read(tmp_path, wanted, level):
    path = write_lossless_slide(tmp_path / "a.tif", np.zeros((1024, 2048, 3), np.uint8), 0.25, (1, 4, 16))
    with open_slide(path) as slide:
        assert slide.best_level(wanted) == level


def test_a_tile_at_the_resolution_of_a_level_has_the_pixels_of_the_level(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    path = write_lossless_slide(tmp_path / "a.tif", rgb, 0.5)
    with open_slide(path) as slide:
        assert np.array_equal(slide.read_tile(101, 57, 64, 64), rgb[57:121, 101:165])


def test_a_coarser_tile_is_the_mean_of_its_pixels(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    path = write_lossless_slide(tmp_path / "a.tif", rgb, 0.5)
    expected = rgb[:96, :96].reshape(24, 4, 24, 4, 3).mean(axis=(1, 3))
    with open_slide(path) as slide:
        assert np.abs(slide.read_tile(0, 0, 96, 24) - expected).max() <= 0.51


def test_a_slide_without_mpp_can_be_opened_and_raises_only_when_mpp_is_needed(tmp_path):
    path = write_lossless_slide(tmp_path / "a.tif", np.zeros((300, 300, 3), np.uint8), None)
    with open_slide(path) as slide:
        assert slide.read_tile(0, 0, 64, 64).shape == (64, 64, 3)
        with pytest.raises(MissingMppError):
            _ = slide.mpp
    with open_slide(path, 0.3) as slide:
        assert slide.mpp == (0.3, 0.3)


@pytest.mark.parametrize("levels", [(1,), (1, 4), (1, 4, 16)], ids=str)
@pytest.mark.parametrize("mpp", [0.25, 0.263, 0.5])
def test_a_thumbnail_has_the_requested_mpp(tmp_path, mpp, levels):
    path = write_lossless_slide(tmp_path / "a.tif", micron_ramp(mpp), mpp, levels)
    with open_slide(path) as slide:
        thumbnail = slide.thumbnail(8.0)
    assert thumbnail.mpp == pytest.approx(8, rel=0.03)
    columns = (np.arange(thumbnail.rgb.shape[1]) + 0.5) * thumbnail.downsample[0] * mpp
    inside = thumbnail.rgb[:-1, :-1]  # the last row and column may extend beyond the slide
    assert np.abs(inside[..., 0].mean(axis=0) - columns[:-1]).max() < 1.0
    assert thumbnail.readable.all()


def test_a_thumbnail_read_in_blocks_equals_one_read_at_once(tmp_path, monkeypatch):
    path = write_lossless_slide(tmp_path / "a.tif", tissue_drawing(1000, 1300, [(100, 800, 200, 1111)]), 0.5)
    with open_slide(path) as slide:
        whole = slide.thumbnail(8.0).rgb
        monkeypatch.setattr("pipelines.slides.slide.BLOCK", 256)
        assert np.array_equal(slide.thumbnail(8.0).rgb, whole)


def test_a_slide_coarser_than_the_thumbnail_is_its_own_thumbnail(tmp_path):
    rgb = tissue_drawing(50, 60, [(10, 40, 10, 40)])
    with open_slide(write_lossless_slide(tmp_path / "a.tif", rgb, 10.0)) as slide:
        thumbnail = slide.thumbnail(4.0)
    assert np.array_equal(thumbnail.rgb, rgb)
    assert thumbnail.mpp == pytest.approx(10)


@pytest.fixture(params=["auto", "openslide"])
def damaged(tmp_path, request, monkeypatch) -> Slide:
    """Return a slide with one level and four stored tiles of 256 px; the last tile cannot be decoded."""
    monkeypatch.setenv("FIVE_READER", request.param)
    path = tmp_path / "a.svs"
    write_pyramidal_slide(path, tissue_drawing(500, 500, [(0, 500, 0, 500)]), 0.5)
    destroy_tile(path, 0, 3)
    with open_slide(path) as slide:
        yield slide


def test_an_unreadable_region_does_not_affect_others(damaged):
    before = damaged.read_tile(0, 0, 224, 224)
    with pytest.raises(SlideError, match="unreadable"):
        damaged.read_tile(270, 270, 224, 224)
    assert np.array_equal(damaged.read_tile(0, 0, 224, 224), before)


def test_the_thumbnail_marks_unreadable_pixels(damaged):
    thumbnail = damaged.thumbnail(2.0)
    assert not thumbnail.readable[64:, 64:].any()
    assert thumbnail.readable[:64].all()
    assert thumbnail.readable[:, :64].all()
    assert (thumbnail.rgb[66:, 66:] == 255).all()


def test_a_completely_unreadable_slide_is_an_error(tmp_path):
    path = tmp_path / "a.svs"
    write_pyramidal_slide(path, tissue_drawing(200, 200, [(0, 200, 0, 200)]), 0.5)
    destroy_tile(path, 0, 0)
    with open_slide(path) as slide, pytest.raises(SlideError, match="no part of the slide can be read"):
        slide.thumbnail(2.0)
