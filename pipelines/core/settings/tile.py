"""Settings of ``five tile``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.settings.base import Settings, require

PLAUSIBLE_MPP = (0.05, 20.0)
"""Microns per pixel at level 0 that a slide can have; anything else is a mistaken tag."""
NETWORK_METHODS = ("hest", "grandqc")
"""Methods to find tissue that need a file of weights."""
TISSUE_METHODS = ("otsu", "hsv", *NETWORK_METHODS)


def plausible_mpp(mpp: float) -> bool:
    """Tell whether a slide can have this many microns per pixel at level 0."""
    return PLAUSIBLE_MPP[0] <= mpp <= PLAUSIBLE_MPP[1]


@dataclass(frozen=True)
class TileSettings(Settings):
    """Size, resolution and quality of the tiles cut from every slide."""

    tile_size: int = 224
    """Edge length of a tile in pixels, as the encoder sees it."""
    target_mpp: float = 0.5
    """Microns per pixel of a tile; 0.5 is what a 20x scan has."""
    overlap: int = 0
    """Pixels (as the encoder sees them) that neighbouring tiles share."""
    mpp: float | None = None
    """Microns per pixel at level 0 of slides whose file and cohort row record none."""
    max_enlargement: float = 1.25
    """Slides coarser than target_mpp by more than this factor are refused: pixels cannot be invented."""
    tissue_method: str = "otsu"
    """How tissue is told from background: ``otsu`` (saturation), ``hsv`` (hues of H&E), or a network
    with weights of your own: ``hest``, ``grandqc``."""
    tissue_mpp: float = 16.0
    """Microns per pixel of the thumbnail on which tissue, ink, white and black are found."""
    min_tissue: float = 0.25
    """Least share of a tile that must be tissue, 0 to 1."""
    min_area_mm2: float = 0.05
    """Tissue pieces smaller than this are dropped and holes smaller than this are filled, mm2."""
    max_white: float = 0.8
    """Largest share of a tile that may be bright and colourless, 0 to 1."""
    max_black: float = 0.2
    """Largest share of a tile that may be black: edges of the scan and black ink, 0 to 1."""
    max_pen: float = 0.1
    """Largest share of a tile that may have the colour of blue, green or red ink, 0 to 1."""
    max_fold: float = 0.3
    """Largest share of a tile that may be folded or over-stained, 0 to 1; 1 allows all."""
    min_focus: float = 25.0
    """Least sharpness of a tile (see the column ``focus``); 0 allows all."""
    min_contrast: float = 10.0
    """Least contrast of a tile (see the column ``contrast``); 0 allows all. With both 0 no pixels are read: faster."""
    keep_all: bool = False
    """Record what is wrong with a tile but keep it all the same (background is never kept)."""

    def __post_init__(self) -> None:
        require(self.tile_size > 0, f"tile_size: {self.tile_size} is not a positive number of pixels")
        require(self.target_mpp > 0, f"target_mpp: {self.target_mpp} is not positive")
        require(0 <= self.overlap < self.tile_size, f"overlap: {self.overlap} is not in 0..tile_size-1")
        require(
            self.mpp is None or plausible_mpp(self.mpp),
            f"mpp: {self.mpp} is not within {PLAUSIBLE_MPP[0]} to {PLAUSIBLE_MPP[1]} microns per pixel",
            hint="a 40x scan has 0.25, a 20x scan 0.5",
        )
        require(self.max_enlargement >= 1, f"max_enlargement: {self.max_enlargement} is less than 1")
        require(self.tissue_mpp > 0, f"tissue_mpp: {self.tissue_mpp} is not positive")
        require(self.min_area_mm2 >= 0, f"min_area_mm2: {self.min_area_mm2} is negative")
        require(self.min_focus >= 0, f"min_focus: {self.min_focus} is negative")
        require(self.min_contrast >= 0, f"min_contrast: {self.min_contrast} is negative")
        for name in ("min_tissue", "max_white", "max_black", "max_pen", "max_fold"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name}: {value} is not in 0..1")
        require(
            self.tissue_method in TISSUE_METHODS,
            f"tissue_method: {self.tissue_method!r} is not known",
            hint=f"use {', '.join(TISSUE_METHODS)}",
        )
