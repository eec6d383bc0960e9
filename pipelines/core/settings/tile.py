"""Settings of ``five tile``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pipelines.core.settings.base import Settings, require
from pipelines.core.settings.fields import Fraction, Limits

PLAUSIBLE_MPP = (0.05, 20.0)
"""Smallest and largest plausible microns per pixel at level 0; other values are treated as wrong tags."""
NetworkMethod = Literal["hest", "grandqc"]
"""Methods of tissue detection that need a weights file."""
TissueMethod = Literal["otsu", "hsv", NetworkMethod]
NETWORK_METHODS: tuple[str, ...] = get_args(NetworkMethod)


def plausible_mpp(mpp: float) -> bool:
    """Return whether a slide can have this many microns per pixel at level 0."""
    return PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]


@dataclass(frozen=True)
class TileSettings(Settings):
    """Size, resolution and quality of the tiles cut from every slide."""

    tile_size: Annotated[int, Limits(min=1)] = 224
    """Edge length of a tile in pixels, at ``target_mpp``."""
    target_mpp: Annotated[float, Limits(above=0)] = 0.5
    """Resolution of the tiles in microns per pixel: 0.5 is 20x, 0.25 is 40x."""
    overlap: Annotated[int, Limits(min=0)] = 0
    """Overlap of neighboring tiles in pixels, at ``target_mpp``."""
    mpp: float | None = None
    """Microns per pixel at level 0 of slides without a recorded value (0.25 for a 40x scan)."""
    max_enlargement: Annotated[float, Limits(min=1)] = 1.25
    """Refuse slides that are coarser than ``target_mpp`` by more than this factor."""
    tissue_method: TissueMethod = "otsu"
    """How tissue is detected: ``otsu`` (saturation), ``hsv`` (colors of H&E), or a network (``hest``, ``grandqc``) that
    needs --tissue-weights."""
    tissue_mpp: Annotated[float, Limits(above=0)] = 16.0
    """Microns per pixel of the thumbnail on which tissue, ink, folds, white and black are detected."""
    min_tissue: Fraction = 0.25
    """Minimum tissue fraction of a tile; tiles with less are background."""
    min_area_mm2: Annotated[float, Limits(min=0)] = 0.05
    """Drop pieces of tissue and fill holes that are smaller than this area, in mm2."""
    max_white: Fraction = 0.8
    """Maximum fraction of a tile that may be bright and colorless; 1 disables the filter."""
    max_black: Fraction = 0.2
    """Maximum fraction of a tile that may be black (scan edge, black ink); 1 disables the filter."""
    max_pen: Fraction = 0.1
    """Maximum fraction of a tile that may be blue, green or red ink; 1 disables the filter."""
    max_fold: Fraction = 0.3
    """Maximum fraction of a tile that may be folded or over-stained; 1 disables the filter."""
    min_focus: Annotated[float, Limits(min=0)] = 25.0
    """Minimum sharpness of a tile (column focus); 0 disables the filter."""
    min_contrast: Annotated[float, Limits(min=0)] = 10.0
    """Minimum contrast of a tile (column contrast); 0 disables the filter. If ``min_focus`` is 0 too, no pixels are
    read, which is faster."""
    keep_all: bool = False
    """Keep tiles that fail a filter and only record why; background is still dropped."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.overlap < self.tile_size, f"overlap: {self.overlap} is not less than tile_size {self.tile_size}")
        require(
            self.mpp is None or plausible_mpp(self.mpp),
            f"mpp: {self.mpp} is not within {PLAUSIBLE_MPP[0]} to {PLAUSIBLE_MPP[1]} microns per pixel",
            hint="a 40x scan has 0.25, a 20x scan 0.5",
        )
