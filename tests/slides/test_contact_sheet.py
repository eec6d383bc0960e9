"""The contact sheet shows rejected tiles by reason, the worst first; without any there is no sheet."""

import numpy as np
import pytest

from pipelines.core.settings import TileSettings
from pipelines.slides import open_slide
from pipelines.slides.contact_sheet import CAPTION, COLUMNS, EDGE, GAP, LABEL, SCORE_OF, contact_sheet
from pipelines.slides.grid import tile_grid
from pipelines.slides.overview import COLORS
from pipelines.slides.quality import REASONS, Quality
from pipelines.synthetic.slide_file import write_pyramidal_slide
from tests.slide_files import destroy_tile, write_lossless_slide

ROW = CAPTION + EDGE + LABEL + GAP
SHADES = np.arange(16) * 12 + 30
"""Gray values of the 16 tiles of the slide, by which a tile is recognized in the sheet."""


@pytest.fixture
def slide(tmp_path):
    rgb = np.kron(SHADES.reshape(4, 4), np.ones((256, 256), int)).astype(np.uint8)
    path = write_lossless_slide(tmp_path / "a.tif", np.repeat(rgb[..., None], 3, axis=2), 0.5)
    with open_slide(path) as opened:
        yield opened


def quality(reasons, n_tiles=16, **scores):
    """Return a `Quality`: ``reasons`` maps tile indices to reasons, ``scores`` has a value per tile."""
    reason = np.full(n_tiles, "", dtype="<U12")
    for index, name in reasons.items():
        reason[index] = name
    zero = np.zeros(n_tiles, np.float32)
    names = ("white", "black", "pen", "fold", "focus", "contrast")
    return Quality(**{name: np.asarray(scores.get(name, zero), np.float32) for name in names}, reason=reason)


def sheet_of(slide, quality):
    return contact_sheet(slide, tile_grid(slide.dimensions, 256, 0, 1.0), quality, TileSettings())


def shades(sheet, row):
    """Return the shades of the tiles in a row of the sheet; 255 for empty positions."""
    top, lefts = row * ROW + CAPTION + EDGE // 2, GAP + EDGE // 2 + np.arange(COLUMNS) * (EDGE + GAP)
    return sheet[top, lefts, 0].tolist()


def test_every_reason_based_on_pixels_has_a_score_and_a_threshold():
    assert set(REASONS) - set(SCORE_OF) == {"background", "unreadable"}
    for score, limit in SCORE_OF.values():
        assert score in Quality.__dataclass_fields__
        assert limit in TileSettings.__dataclass_fields__


def test_a_slide_without_rejected_tiles_has_no_sheet(slide):
    assert sheet_of(slide, quality({})) is None


def test_background_and_unreadable_tiles_make_no_sheet(slide):
    assert sheet_of(slide, quality({1: "background", 2: "unreadable"})) is None


def test_each_reason_has_a_row_in_the_order_of_reasons(slide):
    sheet = sheet_of(slide, quality({7: "blurred", 2: "pen-red", 5: "white"}))
    assert sheet.shape == (3 * ROW, GAP + COLUMNS * (EDGE + GAP), 3)
    for row, (reason, tile) in enumerate((("pen-red", 2), ("white", 5), ("blurred", 7))):
        assert tuple(sheet[row * ROW + CAPTION // 2, GAP + 3]) == COLORS[reason]
        assert shades(sheet, row) == [SHADES[tile]] + [255] * (COLUMNS - 1)


def test_the_worst_tiles_come_first_for_maximum_and_minimum_thresholds(slide):
    pen = np.linspace(0.2, 0.9, 16)
    sheet = sheet_of(
        slide, quality(dict.fromkeys((3, 4, 9), "pen-blue") | dict.fromkeys((1, 6), "blurred"), pen=pen, focus=pen)
    )
    assert shades(sheet, 0)[:4] == [SHADES[9], SHADES[4], SHADES[3], 255]
    assert shades(sheet, 1)[:3] == [SHADES[1], SHADES[6], 255]


def test_many_tiles_are_represented_by_evenly_spread_scores_and_always_the_same_ones(slide):
    folds = quality(dict.fromkeys(range(16), "fold"), fold=np.linspace(1, 0.4, 16))
    sheet = sheet_of(slide, folds)
    shown = shades(sheet, 0)
    assert shown[0] == SHADES[0]
    assert shown[-1] == SHADES[15]
    assert len(set(shown)) == COLUMNS
    assert shown == sorted(shown)
    assert np.array_equal(sheet, sheet_of(slide, folds))


def test_the_size_of_the_sheet_is_limited(slide):
    reasons = dict(enumerate(SCORE_OF))
    sheet = sheet_of(slide, quality(reasons))
    assert max(sheet.shape) <= 1300


def test_an_unreadable_tile_is_marked(tmp_path):
    path = tmp_path / "b.svs"
    write_pyramidal_slide(path, np.full((512, 512, 3), 90, np.uint8), 0.5)
    destroy_tile(path, 0, 0)
    with open_slide(path) as opened:
        sheet = sheet_of(opened, quality({0: "white", 3: "white"}, n_tiles=4))
    assert shades(sheet, 0)[:3] == [COLORS["unreadable"][0], 90, 255]
