"""Every defect of a tile is recognized, and good tissue has none."""

from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from pipelines.core.settings import TileSettings
from pipelines.slides import open_slide
from pipelines.slides.grid import tile_grid, tile_means
from pipelines.slides.quality import judge_tiles, sharpness_and_contrast
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


def test_sharp_tissue_has_no_defect(tmp_path):
    with judged(tmp_path / "a.tif", tissue()) as quality:
        assert set(quality.reason.tolist()) == {""}
        assert (quality.focus > 2 * TileSettings.min_focus).all()
        assert (quality.contrast > 2 * TileSettings.min_contrast).all()


@pytest.mark.parametrize(
    ("color", "reason"),
    [
        ((20, 50, 180), "pen-blue"),
        ((20, 130, 70), "pen-green"),
        ((215, 15, 25), "pen-red"),
        ((15, 15, 15), "black"),
    ],
)
def test_each_ink_and_black_has_its_reason(tmp_path, color, reason):
    rgb = tissue()
    rgb[224:448, 224:448] = color
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


def test_low_contrast_takes_precedence_over_blurred(tmp_path):
    rgb = tissue()
    rgb[224:448, 224:448] = (0.1 * rgb[224:448, 224:448] + 0.9 * np.array([180, 110, 170])).astype(np.uint8)
    with judged(tmp_path / "a.tif", rgb) as quality:
        assert quality.reason[5] == "low-contrast"
        assert (np.delete(quality.reason, 5) == "").all()


def test_a_second_layer_of_tissue_is_a_fold(tmp_path):
    rgb = tissue_drawing(SIDE, SIDE, [(0, SIDE, 0, SIDE)]) // 3 + np.array([127, 50, 100], np.uint8)  # evenly pink
    rgb[224:448, 224:448] = rgb[224:448, 224:448] / 255.0 * rgb[224:448, 224:448]
    with judged(tmp_path / "a.tif", rgb) as quality:
        assert quality.reason[5] == "fold"
        assert quality.fold[5] == pytest.approx(1)
        assert (np.delete(quality.reason, 5) == "").all()
    with judged(tmp_path / "a.tif", rgb, max_fold=1) as quality:
        assert set(quality.reason.tolist()) == {""}


def test_without_thresholds_focus_and_contrast_are_not_measured(tmp_path):
    with judged(tmp_path / "a.tif", tissue(), min_focus=0, min_contrast=0) as quality:
        assert np.isnan(quality.focus).all()
        assert np.isnan(quality.contrast).all()


@pytest.mark.parametrize("limits", [{"min_focus": 0}, {"min_contrast": 0}], ids=str)
def test_one_threshold_is_enough_to_measure_both(tmp_path, limits):
    with judged(tmp_path / "a.tif", tissue(), **limits) as quality:
        assert not np.isnan(quality.focus).any()
        assert not np.isnan(quality.contrast).any()


def test_a_tile_with_little_ink_is_kept_and_its_ink_is_measured(tmp_path):
    rgb = tissue()
    rgb[224:448, 224:288] = (20, 130, 70)  # two of the seven thumbnail pixels of a tile
    with judged(tmp_path / "a.tif", rgb, max_pen=0.3) as quality:
        assert quality.reason[5] == ""
        assert quality.pen[5] == pytest.approx(2 / 7, abs=0.01)


def test_sharpness_is_the_mean_squared_laplacian_divided_by_the_contrast():
    rgb = np.zeros((9, 9, 3), np.uint8)
    rgb[4, 4] = 49  # of 49 inner pixels: mean 1, variance 49**2 / 49 - 1 = 48; Laplacian -196 there, 49 at 4 others
    sharpness, contrast = sharpness_and_contrast(rgb)
    assert contrast == pytest.approx(48**0.5)
    assert sharpness == pytest.approx((196**2 + 4 * 49**2) / 49 / 48**0.5)


def test_glass_beside_the_tissue_changes_neither_sharpness_nor_contrast_much():
    rgb = tissue_drawing(64, 64, [(0, 64, 0, 64)])
    half = np.full((64, 128, 3), 242, np.uint8)
    half[:, :64] = rgb
    assert sharpness_and_contrast(half) == pytest.approx(sharpness_and_contrast(rgb), rel=0.2)


def test_glass_has_neither_sharpness_nor_contrast():
    assert sharpness_and_contrast(np.full((9, 9, 3), 242, np.uint8)) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_sharpness_decreases_with_blur(seed):
    rgb = tissue_drawing(56, 56, [(0, 56, 0, 56)], seed=seed)
    blurred = [rgb, *(cv2.GaussianBlur(rgb, (0, 0), sigma) for sigma in (0.7, 1, 2, 4))]
    sharpness = [sharpness_and_contrast(each)[0] for each in blurred]
    assert sharpness == sorted(sharpness, reverse=True)
    assert len(set(sharpness)) == 5


@pytest.mark.parametrize("share", [0.8, 0.5, 0.25])
def test_contrast_and_sharpness_are_proportional_to_the_stain(share):
    rgb = np.full((56, 56, 3), 160, np.uint8)
    rgb[::2, ::2] = 80
    faded = (160 + share * (rgb.astype(float) - 160)).astype(np.uint8)
    assert sharpness_and_contrast(faded) == pytest.approx([share * score for score in sharpness_and_contrast(rgb)])
