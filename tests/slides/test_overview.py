"""The overview picture says what became of each tile, by colour."""

import numpy as np

from pipelines.slides.grid import tile_grid
from pipelines.slides.overview import COLOURS, LEGEND_HEIGHT, overview
from pipelines.slides.quality import REASONS
from pipelines.slides.slide import Thumbnail


def test_every_reason_has_a_colour_of_its_own():
    assert set(COLOURS) == {"kept", *REASONS}
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_dropped_tiles_are_tinted_and_kept_ones_framed():
    rgb = np.full((100, 200, 3), 200, np.uint8)
    thumbnail = Thumbnail(rgb, np.ones((100, 200), bool), (10.0, 10.0), 5.0)
    grid = tile_grid((2000, 1000), 1000, 0, 1.0)
    picture = overview(thumbnail, [], grid, np.array(["", "blurred"]))
    assert picture.shape == (450 + LEGEND_HEIGHT, 900, 3)
    assert picture[225, 225].tolist() == [200, 200, 200]
    assert picture[225, 0].tolist() == list(COLOURS["kept"])
    tint = [int(0.55 * 200 + 0.45 * value) for value in COLOURS["blurred"]]
    assert picture[225, 675].tolist() == tint
