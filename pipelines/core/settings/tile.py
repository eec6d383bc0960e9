"""Settings of ``five tile``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.settings.base import Settings, require


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
    tissue_method: str = "otsu"
    """How tissue is told from background: ``otsu`` or ``hsv``."""
    min_tissue: float = 0.25
    """Least share of a tile that must be tissue, 0 to 1."""
    min_area_mm2: float = 0.05
    """Tissue pieces and holes smaller than this are dropped, mm2."""

    def __post_init__(self) -> None:
        require(self.tile_size > 0, f"tile_size: {self.tile_size} is not a positive number of pixels")
        require(self.target_mpp > 0, f"target_mpp: {self.target_mpp} is not positive")
        require(0 <= self.overlap < self.tile_size, f"overlap: {self.overlap} is not in 0..tile_size-1")
        require(0 <= self.min_tissue <= 1, f"min_tissue: {self.min_tissue} is not in 0..1")
        require(
            self.tissue_method in ("otsu", "hsv"),
            f"tissue_method: {self.tissue_method!r} is not known",
            hint="use otsu or hsv",
        )
