"""A small tiled slide and stand-in encoders with known features, for tests of `five embed`."""

from pathlib import Path

import numpy as np

from pipelines.core.cohort import CohortSlide
from pipelines.core.schemas import TILES
from pipelines.core.settings import TileSettings
from pipelines.encoders.preset import Preset
from pipelines.tile import TileInputs, tile
from tests.slide_files import tissue_drawing, write_lossless_slide

TISSUE = tissue_drawing(1024, 1280, [(112, 1008, 112, 1232)])
TILING = TileSettings(tile_size=112, min_focus=0)


class StandIn:
    """Stand-in encoder that returns a color of each tile."""

    fingerprint, device, precision, dim, largest_batch = "c0105", "cpu", "fp32", 3, None

    def __init__(self, name, color):
        self.preset, self._color = Preset(name, "none", 3), color

    def __call__(self, tiles):
        return self._color(tiles).astype(np.float32)


STAND_INS = {
    "mean-color": StandIn("mean-color", lambda tiles: tiles.mean(axis=(1, 2))),
    "first-pixel": StandIn("first-pixel", lambda tiles: tiles[:, 0, 0]),
}


def use_stand_ins(monkeypatch):
    """Make `five embed` use the stand-ins; any other encoder name gives the mean color."""

    def find(name):
        return STAND_INS.get(name, STAND_INS["mean-color"]).preset

    monkeypatch.setattr("pipelines.encoders.feature_folder.find_preset", find)
    monkeypatch.setattr("pipelines.encoders.encoder.encoder_fingerprint", lambda preset, weights: preset.name)
    monkeypatch.setattr("pipelines.encoders.encoder.load_encoder", lambda preset, **_: STAND_INS[preset.name])


def tile_slides(folder: Path, names) -> Path:
    """Write slides that show ``TISSUE``, tile them, and return the folder of tiles."""
    slides = [CohortSlide(name, write_lossless_slide(folder / f"slides/{name}.tif", TISSUE, 0.5)) for name in names]
    tile(TileInputs(slides), folder / "tiles", TILING)
    return folder / "tiles"


def kept_corners(tiles: Path, slide_id: str):
    """Return the (x, y) of the kept tiles of a slide."""
    return [(row["x"], row["y"]) for row in TILES.read_rows(tiles / f"{slide_id}.parquet") if row["keep"]]
