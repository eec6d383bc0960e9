"""Tissue detection on hand-made thumbnails with 8 microns per pixel."""

import numpy as np
import pytest

from pipelines.slides.tissue import tissue_mask, without_small_pieces

MPP = 8.0
PINK, VIOLET, GLASS = (220, 140, 190), (120, 70, 160), (242, 240, 243)


def thumbnail(background=GLASS, noise=3, side=300):
    rgb = np.empty((side, side, 3), np.int16)
    rgb[:] = background
    rgb += np.random.default_rng(0).integers(-noise, noise + 1, rgb.shape)
    return rgb.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("method", ["otsu", "hsv"])
@pytest.mark.parametrize("color", [PINK, VIOLET], ids=["pink", "violet"])
def test_a_piece_of_tissue_is_found_within_a_few_pixels(method, color):
    rgb = thumbnail()
    rgb[60:180, 100:250] = color
    mask = tissue_mask(rgb, MPP, method=method)
    expected = np.zeros((300, 300), bool)
    expected[60:180, 100:250] = True
    assert mask[64:176, 104:246].all()
    assert (mask ^ expected).mean() < 0.005


@pytest.mark.parametrize("method", ["otsu", "hsv"])
@pytest.mark.parametrize(
    "rgb",
    [
        thumbnail(),
        thumbnail((255, 255, 255), 0),
        thumbnail((235, 228, 220), 4),
        thumbnail((0, 0, 0), 0),
        thumbnail((12, 10, 14), 8),
        thumbnail((128, 128, 128), 3),
    ],
    ids=["glass", "white", "tinted glass", "black", "dark noise", "gray"],
)
def test_no_tissue_is_found_on_a_slide_without_tissue(rgb, method):
    assert not tissue_mask(rgb, MPP, method=method).any()


@pytest.mark.parametrize("signal", [(20, 30, 220), (200, 10, 10), (10, 220, 20)], ids=["DAPI", "TRITC", "FITC"])
@pytest.mark.parametrize("method", ["otsu", "hsv"])
def test_fluorescence_is_not_tissue(signal, method):
    rgb = thumbnail((3, 3, 3), 3)
    rgb[50:200, 50:200] = signal
    assert not tissue_mask(rgb, MPP, method=method).any()


def test_a_slide_covered_with_tissue_is_not_split():
    rgb = thumbnail(PINK, 5)
    rgb[100:200] = VIOLET
    assert tissue_mask(rgb, MPP).all()


def test_pale_and_strong_tissue_are_both_found():
    rgb = thumbnail()
    rgb[20:120, 20:120] = (228, 190, 215)  # saturation 43 of 255
    rgb[150:280, 150:280] = (110, 40, 140)
    mask = tissue_mask(rgb, MPP)
    assert mask[25:115, 25:115].all()
    assert mask[155:275, 155:275].all()


def test_pieces_and_holes_below_the_minimum_area_are_removed():
    """0.05 mm2 are 781 pixels of 8 um: a square with an edge of 28 pixels is just above, one with 27 below."""
    rgb = thumbnail()
    rgb[100:250, 100:250] = PINK
    rgb[150:190, 150:190] = GLASS  # hole of 0.10 mm2
    rgb[200:220, 200:220] = GLASS  # hole of 0.03 mm2
    rgb[10:30, 10:30] = PINK  # piece of 0.03 mm2
    rgb[10:50, 200:240] = PINK  # piece of 0.10 mm2
    mask = tissue_mask(rgb, MPP)
    assert not mask[155:185, 155:185].any()
    assert mask[200:220, 200:220].all()
    assert not mask[:60, :60].any()
    assert mask[15:45, 205:235].all()


def test_background_that_touches_the_border_is_not_a_hole():
    mask = np.zeros((20, 20), bool)
    mask[0, 5:8] = True
    mask[10:12, 10:12] = True
    assert without_small_pieces(mask, 5, keep_at_edge=True).sum() == 3
    assert without_small_pieces(mask, 4).sum() == 4
    assert without_small_pieces(mask, 5).sum() == 0


def test_dust_is_removed_and_thin_gaps_are_closed():
    rgb = thumbnail()
    rgb[100:200, 100:200] = PINK
    rgb[148:152, 100:200] = GLASS  # a crack of 32 um
    rgb[40:43, 40:43] = VIOLET  # dust of 24 um
    mask = tissue_mask(rgb, MPP, min_area_mm2=0)
    assert mask[105:195, 105:195].all()
    assert not mask[:90].any()
