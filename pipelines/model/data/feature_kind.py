"""The kind of tile features: features of different kinds must not enter one model."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.core.feature_file import FeatureHeader


@dataclass(frozen=True)
class FeatureKind:
    """The encoder of the features and the tiles that it saw. Two kinds are equal if their features can be mixed."""

    dim: int
    """Channels of a tile's features."""
    encoder: str = field(compare=False)
    """Name of the encoder. Not compared, since the fingerprint identifies weights and preprocessing."""
    encoder_fingerprint: str
    tile_size: int
    """Edge length of a tile, pixels as the encoder sees it."""
    target_mpp: float
    """Microns per pixel of the tiles."""
    space: str = field(default="", compare=False)
    """Name of the space that the features share with texts, empty if there is none. Not compared, see ``encoder``."""

    @classmethod
    def of(cls, header: FeatureHeader) -> FeatureKind:
        """Return the kind of the features in a file."""
        info = header.info
        return cls(header.dim, info.encoder, info.encoder_fingerprint, header.tile_size, info.target_mpp, info.space)

    def __str__(self) -> str:
        return (
            f"features of {self.encoder} ({self.dim} channels, weights {self.encoder_fingerprint}, "
            f"tiles of {self.tile_size} pixels at {self.target_mpp:g} microns per pixel)"
        )
