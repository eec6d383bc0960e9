"""Every fault of a tile is named, and sound tissue has none."""

from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from pipelines.core.settings import TileSettings
from pipelines.slides import open_slide
from pipelines.slides.grid import tile_grid, tile_means
from pipelines.slides.quality import colour_masks, judge_tiles, sharpness
from pipelines.slides.tissue import tissue_mask
from tests.slide_files import GLASS, tissue_drawing, write_lossless_slide

SIDE = 224 * 4


@contextmanager
def judged(path, rgb, **settings):
    """Judge the 4 x 4 tiles of a slide at 0.5 mpp."""
    chosen = TileSettings(**settings)
    with open_slide(write_lossless_slide(path, rgb, 0.5)) as slide:
        thumbnail = slide.thumbnail(chosen.tissue_mpp)
        grid = tile_grid(slide.dimensions, 224, 0, 1.0)
        mask = tissue_mask(thumbnail.rgb, thumbnail.mpp, min_area_mm2=chosen.min_area_mm2)
        tissue = tile_means(mask, grid, thumbnail.downsample)
        yield judge_tiles(slide, grid, tissue, thumbnail, chosen)


def tissue():
    return tissue_drawing(SIDE, SIDE, [(0, SIDE, 0, SIDE)])


def test_sharp_tissue_has_no_fault(tmp_path):
    with judged(tmp_path / "a.tif", tissue()) as quality:
        assert set(quality.reason.tolist()) == {""}
        assert (quality.focus > 1000).all()


@pytest.mark.parametrize(
    ("colour", "reason"),
    [
        ((20, 50, 180), "pen-blue"),
        ((20, 130, 70), "pen-green"),
        ((215, 15, 25), "pen-red"),
        ((15, 15, 15), "black"),
    ],
)
def test_each_fault_has_its_name(tmp_path, colour, reason):
    rgb = tissue()
    rgb[224:448, 224:448] = colour
    with judged(tmp_path / "a.tif", rgb) as quality:
        assert quality.reason[5] == reason
        assert (np.delete(quality.reason, 5) == "").all()


def test_a_tile_of_glass_is_background(tmp_path):
    rgb = tissue()
    rgb[:224] = GLASS
    with judged(tmp_path / "a.tif", rgb) as quality:
        assert (quality.reason[:4] == "background").all()
        assert (quality.reason[4:] == "").all()


def test_a_tile_in_a_filled_hole_is_white(tmp_path):
    rgb = tissue()
    rgb[224:448, 224:448] = GLASS
    with judged(tmp_path / "a.tif", rgb, min_area_mm2=0.05) as quality:
        assert quality.reason[5] == "white"
        assert quality.white[5] == pytest.approx(1)


def test_a_tile_out_of_focus_is_blurred(tmp_path):
    rgb = tissue()
    rgb[:448] = cv2.GaussianBlur(rgb[:448], (0, 0), 6)
    with judged(tmp_path / "a.tif", rgb) as quality:
        assert (quality.reason[:4] == "blurred").all()
        assert (quality.reason[8:] == "").all()


def test_without_a_limit_focus_is_not_measured(tmp_path):
    with judged(tmp_path / "a.tif", tissue(), min_focus=0) as quality:
        assert np.isnan(quality.focus).all()


def test_little_ink_is_allowed_and_its_share_is_known(tmp_path):
    rgb = tissue()
    rgb[224:448, 224:288] = (20, 130, 70)  # two of the seven thumbnail pixels of a tile
    with judged(tmp_path / "a.tif", rgb, max_pen=0.3) as quality:
        assert quality.reason[5] == ""
        assert quality.pen[5] == pytest.approx(2 / 7, abs=0.01)


@pytest.mark.parametrize(
    "stain",
    [(225, 150, 195), (110, 60, 150), (160, 130, 220), (180, 60, 80), (90, 40, 120), (150, 110, 190), (235, 110, 150)],
    ids=["eosin", "haematoxylin", "pale nuclei", "blood", "dense nuclei", "lilac", "strong eosin"],
)
def test_stain_is_not_ink(stain):
    found = colour_masks(np.full((2, 2, 3), stain, np.uint8))
    assert not any(mask.any() for mask in found.values())


def test_sharpness_is_the_mean_squared_laplacian():
    rgb = np.zeros((9, 9, 3), np.uint8)
    rgb[4, 4] = 10  # Laplacian: -40 there, 10 at its four neighbours; 49 inner pixels
    assert sharpness(rgb) == pytest.approx((1600 + 4 * 100) / 49)


def test_glass_beside_the_tissue_does_not_lower_its_sharpness():
    rgb = tissue_drawing(64, 64, [(0, 64, 0, 64)])
    half = np.full((64, 128, 3), 242, np.uint8)
    half[:, :64] = rgb
    assert sharpness(half) == pytest.approx(sharpness(rgb), rel=0.2)
