"""The output folder of one encoder: check which feature files are current, and write new ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import EncoderError
from pipelines.core.feature_file import (
    SLIDE_NOTE,
    CoordsAttributes,
    FeatureInfo,
    features_current,
    read_notes,
)
from pipelines.core.feature_writer import FeatureWriter, feature_writer
from pipelines.core.files import canonical_json
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.json_text import parse_json
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TILES
from pipelines.core.settings import EmbedSettings
from pipelines.core.tiled_slide import ROW_NOTE, TiledSlide
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.preset import Preset
from pipelines.encoders.sanity import FeatureSanity

if TYPE_CHECKING:
    from pipelines.encoders.encoder import Encoder

MADE_BY = "five embed"
MAGNIFICATION_1X_MPP = 10.0
"""Microns per pixel at 1x magnification; 0.5 is then 20x."""


def refuse_mismatch(settings: EmbedSettings, tile_size: int, mpp: float) -> None:
    """Raise `EncoderError` if the encoder was not trained on such tiles, unless the settings allow it."""
    preset = find_preset(settings.encoder)
    mismatches = [] if settings.allow_mismatch else preset.mismatches(tile_size, mpp)
    if mismatches:
        raise EncoderError(
            f"{preset.name}: {'; '.join(mismatches)}",
            hint="tile again with --tile-size and --target-mpp for this encoder, or pass --allow-mismatch",
        )


@dataclass(frozen=True)
class FeatureFolder:
    """The features of one encoder: their folder and how they are made. One output of `pipelines.embed`."""

    folder: Path
    settings: EmbedSettings
    preset: Preset
    provenance: Provenance
    """The settings, with the fingerprint of the encoder as ``weights``."""
    compile: bool = False
    """Compile the network with torch."""

    @classmethod
    def of(cls, folder: Path, settings: EmbedSettings, *, compile: bool = False) -> FeatureFolder:
        """Return the folder for ``settings``. The weights are looked up and fingerprinted, but not loaded.

        Raises
        ------
        EncoderError
            The encoder or its weights do not exist.
        """
        from pipelines.encoders.encoder import encoder_fingerprint  # imports torch, which is slow

        preset, provenance = find_preset(settings.encoder), Provenance.of(settings)
        weights = encoder_fingerprint(preset, settings.weights)
        space = {"space": preset.space(weights)} if preset.text else {}
        provenance = replace(provenance, settings={**provenance.settings, "weights": weights, **space})
        return cls(folder, settings, preset, provenance, compile)

    def refuse_other_settings(self) -> None:
        """Raise `ChangedSettingsError` if the folder was made with other settings."""
        refuse_other_settings(self.folder, MADE_BY, self.provenance)

    def claim(self) -> None:
        """Record these settings as those of the folder, replacing any earlier ones."""
        claim_folder(self.folder, MADE_BY, self.provenance, overwrite=True)

    def path(self, slide: TiledSlide) -> Path:
        """Return the feature file of ``slide``."""
        return self.folder / f"{slide.slide_id}.h5"

    def provenance_of(self, slide: TiledSlide) -> Provenance:
        """Return the provenance of the feature file of ``slide``."""
        return replace(self.provenance, input_fingerprint=slide.fingerprint)

    def is_current(self, slide: TiledSlide) -> bool:
        """Return whether the feature file of ``slide`` is complete and made from the same tiles and settings."""
        return features_current(self.path(slide), self.provenance_of(slide))

    def kept_row(self, slide: TiledSlide) -> dict[str, Any]:
        """Return the `EMBEDDED_SLIDES` row stored in a current file, with the patient id of ``slide``."""
        row: dict[str, Any] = parse_json(read_notes(self.path(slide))[ROW_NOTE])
        return {**row, "patient_id": slide.patient_id}

    def load(self, device: str) -> FeatureOutput:
        """Load the encoder onto ``device``.

        Raises
        ------
        EncoderError
            The weights do not fit the network, or its features are not finite.
        """
        from pipelines.encoders.encoder import load_encoder  # imports torch, which is slow

        settings = self.settings
        preset = find_preset(settings.encoder)  # looked up again, not unpickled from the parent process
        encoder = load_encoder(
            preset,
            weights=settings.weights,
            device=device,
            precision=settings.precision,
            compile=self.compile,
        )
        return FeatureOutput(self, encoder)


@dataclass(frozen=True)
class FeatureOutput:
    """A loaded encoder and the folder for its features."""

    folder: FeatureFolder
    encoder: Encoder

    @property
    def name(self) -> str:
        """Name of the encoder."""
        return self.folder.preset.name

    def is_current(self, slide: TiledSlide) -> bool:
        """Return whether the features of ``slide`` are current."""
        return self.folder.is_current(slide)

    @contextmanager
    def writing(self, slide: TiledSlide, row: Mapping[str, Any], n_tiles: int) -> Iterator[_SlideFeatures]:
        """Yield a writer for the batches of ``slide``; the file appears when the block ends without an error.

        Parameters
        ----------
        row
            The slide's row of `TILED_SLIDES`.
        n_tiles
            Maximum number of tiles to write.
        """
        encoder = self.encoder
        info = FeatureInfo(
            slide_id=slide.slide_id,
            encoder=encoder.preset.name,
            encoder_fingerprint=encoder.fingerprint,
            mpp_x=row["mpp_x"],
            mpp_y=row["mpp_y"],
            target_mpp=row["target_mpp"],
            space=encoder.preset.space(encoder.fingerprint),
        )
        with feature_writer(
            self.folder.path(slide),
            n_tiles=n_tiles,
            dim=encoder.dim,
            dtype=self.folder.settings.dtype,
            info=info,
            coords_attributes=_coords_attributes(slide, row),
            provenance=self.folder.provenance_of(slide),
        ) as writer:
            mismatches = encoder.preset.mismatches(row["tile_size"], row["target_mpp"])
            writer.notes.update(precision=encoder.precision, mismatch="; ".join(mismatches))
            writer.notes[SLIDE_NOTE] = row["path"]
            yield _SlideFeatures(slide, encoder, self.folder.settings.dtype, writer, FeatureSanity(slide.slide_id))


@dataclass
class _SlideFeatures:
    """Encodes and writes the tiles of one slide."""

    slide: TiledSlide
    encoder: Encoder
    dtype: str
    writer: FeatureWriter
    sanity: FeatureSanity
    seconds: float = field(default=0.0)
    """Time spent in the encoder."""

    def add(self, pixels: NDArray[np.uint8], coords: NDArray[np.int64]) -> None:
        """Encode RGB ``pixels`` (B, S, S, 3) of the tiles at ``coords`` (B, 2), and write the features."""
        started = time.perf_counter()
        features = self.encoder(pixels).astype(self.dtype)
        self.seconds += time.perf_counter() - started
        self.sanity.add(features)
        self.writer.add(features, coords)

    def finish(self, reading: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row of `EMBEDDED_SLIDES`, and store it in the file.

        The returned row also has ``device``, ``precision`` and ``largest_batch``, which the table leaves out.

        Parameters
        ----------
        reading
            Fields of the row that the reading of the slide determines.

        Raises
        ------
        EncoderError
            All tiles have the same features.
        """
        self.sanity.finish()
        row = {
            "slide_id": self.slide.slide_id,
            "patient_id": self.slide.patient_id,
            "status": "ok" if self.writer.rows else "empty",
            "encoder": self.encoder.preset.name,
            "dim": self.encoder.dim,
            "tiles_fingerprint": self.slide.fingerprint,
            "n_tiles": self.writer.rows,
            "encode_seconds": self.seconds,
            **reading,
        }
        self.writer.notes[ROW_NOTE] = canonical_json(row)
        encoder = self.encoder
        return {
            **row,
            "device": encoder.device,
            "precision": encoder.precision,
            "largest_batch": encoder.largest_batch,
        }


def _coords_attributes(slide: TiledSlide, row: Mapping[str, Any]) -> CoordsAttributes:
    level0_mpp = (row["mpp_x"] + row["mpp_y"]) / 2
    return CoordsAttributes(
        patch_size=row["tile_size"],
        patch_size_level0=row["tile_size_level0"],
        level0_magnification=round(MAGNIFICATION_1X_MPP / level0_mpp, 4),
        target_magnification=round(MAGNIFICATION_1X_MPP / row["target_mpp"], 4),
        overlap=TILES.provenance(slide.table).settings["overlap"],
        name=slide.slide_id,
        level0_width=row["width"],
        level0_height=row["height"],
    )
