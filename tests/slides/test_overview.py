"""The overview image shows by color which tiles are kept and why others are rejected."""

import numpy as np

from pipelines.slides.grid import tile_grid
from pipelines.slides.overview import COLORS, LEGEND_HEIGHT, overview
from pipelines.slides.quality import REASONS
from pipelines.slides.slide import Thumbnail


def test_every_reason_has_its_own_color():
    assert set(COLORS) == {"kept", *REASONS}
    assert len(set(COLORS.values())) == len(COLORS)


def test_rejected_tiles_are_tinted_and_kept_tiles_are_framed():
    rgb = np.full((100, 200, 3), 200, np.uint8)
    thumbnail = Thumbnail(rgb, np.ones((100, 200), bool), (10.0, 10.0), 5.0)
    grid = tile_grid((2000, 1000), 1000, 0, 1.0)
    picture = overview(thumbnail, [], grid, np.array(["", "blurred"]))
    assert picture.shape == (450 + LEGEND_HEIGHT, 900, 3)
    assert picture[225, 225].tolist() == [200, 200, 200]
    assert picture[225, 0].tolist() == list(COLORS["kept"])
    tint = [int(0.55 * 200 + 0.45 * value) for value in COLORS["blurred"]]
    assert picture[225, 675].tolist() == tint


def test_the_legend_shows_every_kind_of_tile_even_in_a_narrow_image():
    rgb = np.full((2400, 300, 3), 255, np.uint8)
    thumbnail = Thumbnail(rgb, np.ones(rgb.shape[:2], bool), (1.0, 1.0), 5.0)
    grid = tile_grid((300, 2400), 100, 0, 1.0)
    states = np.array(["", *REASONS] + [""] * (len(grid) - len(REASONS) - 1))
    legend = overview(thumbnail, [], grid, states)[2400:]
    assert len(legend) % LEGEND_HEIGHT == 0
    assert len(legend) > LEGEND_HEIGHT
    for color in COLORS.values():
        assert (legend == np.array(color)).all(axis=2).sum() > 100
