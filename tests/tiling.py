"""A slide with known tiles, and access to the results, for tests of `five tile`."""

from pipelines.core.schemas import TILED_SLIDES
from pipelines.core.settings import TileSettings
from tests.slide_files import tissue_drawing

SETTINGS = TileSettings(tile_size=112)
TISSUE = tissue_drawing(672, 896, [(112, 560, 224, 784)])  # 4 x 5 tiles of 112 px at 0.5 mpp


def rows_of(out):
    return {row["slide_id"]: row for row in TILED_SLIDES.read_rows(out / "slides.parquet")}


def outcomes(summary):
    return [result.outcome for result in summary.results]
