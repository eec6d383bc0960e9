"""Images that the tile stage writes next to its tables."""

from dataclasses import replace

import cv2
import pytest

from pipelines.core.cohort import CohortSlide
from pipelines.core.selection import Selection
from pipelines.core.settings import TileSettings
from pipelines.tile import TileInputs, tile
from tests.slide_files import tissue_drawing, write_lossless_slide

SETTINGS = TileSettings(tile_size=112)


@pytest.fixture
def inked(tmp_path):
    rgb = tissue_drawing(448, 448, [(0, 448, 0, 448)])
    rgb[112:224, 112:224] = (20, 130, 70)
    return CohortSlide("group/a", write_lossless_slide(tmp_path / "slides" / "a.tif", rgb, 0.5))


def pictures(out):
    return sorted(str(path.relative_to(out / "qc")) for path in (out / "qc").rglob("*") if path.is_file())


def test_rejected_tiles_are_shown_on_a_contact_sheet(inked, tmp_path):
    tile(TileInputs([inked]), tmp_path / "out", SETTINGS)
    assert pictures(tmp_path / "out") == ["group/a.dropped.jpg", "group/a.jpg"]
    sheet = cv2.imread(str(tmp_path / "out/qc/group/a.dropped.jpg"))
    green = (cv2.absdiff(sheet, (70.0, 130.0, 20.0, 0.0)).max(axis=2) < 12).sum()
    assert green > 100 * 100  # a tile is shown as 112 x 112 pixels


def test_the_contact_sheet_is_also_written_with_keep_all(inked, tmp_path):
    tile(TileInputs([inked]), tmp_path / "out", replace(SETTINGS, keep_all=True))
    assert "group/a.dropped.jpg" in pictures(tmp_path / "out")


def test_an_outdated_contact_sheet_is_deleted(inked, tmp_path):
    tile(TileInputs([inked]), tmp_path / "out", SETTINGS)
    lenient = replace(SETTINGS, max_pen=1, max_black=1, min_focus=0, min_contrast=0)
    tile(TileInputs([inked]), tmp_path / "out", lenient, selection=Selection(overwrite=True))
    assert pictures(tmp_path / "out") == ["group/a.jpg"]
