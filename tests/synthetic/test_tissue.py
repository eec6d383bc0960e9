import hashlib

import cv2
import numpy as np
import pytest

from pipelines.synthetic.artefacts import draw_air_bubble, draw_pen_mark
from pipelines.synthetic.stains import Canvas, Stain, develop
from pipelines.synthetic.tissue import GROWTH, draw_tissue

STAIN = Stain(haematoxylin=0.3, eosin=0.3, tint=(1, 1, 1), background=(245, 245, 245))


def drawn(growth, seed=3):
    return draw_tissue(np.random.default_rng(seed), growth, 0.9, STAIN).rgb


@pytest.fixture(scope="module")
def slides():
    return {growth: drawn(growth) for growth in GROWTH}


def test_the_same_seed_draws_the_same_pixels(slides):
    again = drawn("glands")
    assert hashlib.sha256(again.tobytes()).digest() == hashlib.sha256(slides["glands"].tobytes()).digest()


def test_another_seed_draws_different_pixels(slides):
    other = drawn("glands", seed=4)
    assert other.shape != slides["glands"].shape or not np.array_equal(other, slides["glands"])


def test_size_and_outline_of_the_tissue_do_not_depend_on_the_growth_pattern(slides):
    glands, nests = slides["glands"], slides["nests"]
    assert glands.shape == nests.shape
    stained = [cv2.blur((255 - s.min(axis=2)).astype(np.uint8), (65, 65)) > 30 for s in (glands, nests)]
    assert (stained[0] == stained[1]).mean() > 0.97


def test_tissue_fills_about_a_hundred_tiles_and_the_rest_is_nearly_white(slides):
    for rgb in slides.values():
        tissue = cv2.blur(rgb, (129, 129)).min(axis=2) < 225
        assert 80 < tissue.sum() / 224**2 < 160
        assert np.median(rgb[~tissue], axis=0).min() > 235


def test_there_are_two_growth_patterns():
    assert set(GROWTH) == {"glands", "nests"}


def test_the_mean_color_is_that_of_evenly_stained_tissue():
    canvas = Canvas.blank(60, 40)
    canvas.eosin[:, 10:] = 60
    canvas.haematoxylin[:20, 30:] = 180
    rgb = develop(canvas, np.ones((40, 60), bool), Stain(0.3, 0.4, (1, 1, 1), (250, 250, 250)))
    red, green = 250 * np.exp(-(0.3 * 0.64 + 0.4 * 0.12)), 250 * np.exp(-(0.3 * 0.70 + 0.4 * 0.88))
    assert rgb[..., 0].mean() == pytest.approx(red, abs=1)
    assert rgb[..., 1].mean() == pytest.approx(green, abs=1)


def test_glass_without_stain_keeps_its_color():
    canvas = Canvas.blank(8, 8)
    canvas.eosin[:4] = 90
    rgb = develop(canvas, canvas.eosin > 0, Stain(0.4, 0.4, (1, 1, 1), (244, 246, 243)))
    assert (rgb[4:] == (244, 246, 243)).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("draw", [draw_pen_mark, draw_air_bubble])
def test_a_pen_mark_or_bubble_changes_part_of_the_slide(draw, seed):
    before = np.full((900, 1200, 3), 200, np.uint8)
    rgb = before.copy()
    draw(rgb, np.random.default_rng(seed))
    changed = (rgb != before).any(axis=2).mean()
    assert 0.005 < changed < 0.5
