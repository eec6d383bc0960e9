"""Stage ``five embed``: the kept tiles of every slide become features."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.batch import OnResult, Outcome, Result, Summary, run_batch
from pipelines.core.cohort import read_cohort
from pipelines.core.devices import pick_device
from pipelines.core.errors import EncoderError, FiveError, SlideError
from pipelines.core.feature_file import CoordsAttributes, FeatureInfo, features_current, read_notes, write_features
from pipelines.core.files import canonical_json, file_fingerprint
from pipelines.core.folder import claim_folder, update_table
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import EMBEDDED_SLIDES, TILED_SLIDES, TILES
from pipelines.core.settings import EmbedSettings
from pipelines.encoders.encoder import Encoder, load_encoder
from pipelines.encoders.presets import Preset, find_preset
from pipelines.encoders.sanity import FeatureSanity
from pipelines.slides.tile_stream import SlideTiles, TileBatch, TileStream, kept_tiles

MADE_BY = "five embed"
MAGNIFICATION_1X_MPP = 10.0
"""Microns per pixel that the field calls 1x, so that 0.5 is 20x."""


def embed(
    tiles: Path,
    out: Path,
    settings: EmbedSettings,
    *,
    cohort: Path | None = None,
    batch_size: int = 64,
    workers: int = 2,
    device: str = "auto",
    overwrite: bool = False,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Write the features of every slide in ``tiles`` to ``out/<slide_id>.h5``.

    Pixels are read straight from the slides. A file that an earlier run made with the same
    encoder from the same tiles is kept. Slides that ``five tile`` could not tile are left out.

    Parameters
    ----------
    cohort
        Cohort table; only its slides are embedded.
    workers
        Threads that read tiles ahead of the encoder.

    Raises
    ------
    EncoderError
        The encoder cannot be built, or was trained for other tiles than these.
    ArtifactError
        ``tiles`` is not the output of ``five tile``, or ``out`` belongs to other settings.
    """
    rows, n_left_out = _tiled_rows(tiles, cohort)
    preset = find_preset(settings.encoder)
    if not settings.allow_mismatch:
        _refuse_mismatch(preset, rows)
    encoder = load_encoder(preset, weights=settings.weights, device=pick_device(device), precision=settings.precision)
    made = Provenance.of(settings)
    made = replace(made, settings={**made.settings, "weights": encoder.fingerprint})
    claim_folder(out, MADE_BY, made, overwrite=overwrite)

    slides = [_plan(row, tiles, out, made) for row in rows]
    started = time.perf_counter()
    to_read = [partial(_tiles_to_read, slide) for slide in slides]
    with TileStream(to_read, batch_size=batch_size, threads=workers) as stream:
        places = {slide.slide_id: place for place, slide in enumerate(slides)}
        work = _EmbedSlide(encoder, settings.dtype, stream, places)
        results = run_batch(slides, work, folder=out, on_result=on_result)
    seconds = time.perf_counter() - started
    update_table(EMBEDDED_SLIDES, out / "slides.parquet", _records(slides, results, encoder), "slide_id", made)
    return Summary(out, tuple(results), {**_figures(results, encoder, seconds), "slides_left_out": n_left_out})


@dataclass(frozen=True)
class _Slide:
    """One slide to embed."""

    slide_id: str
    patient_id: str | None
    table: Path
    output: Path
    provenance: Provenance

    @property
    def is_current(self) -> bool:
        return features_current(self.output, self.provenance)


def _tiled_rows(tiles: Path, cohort: Path | None) -> tuple[list[dict[str, Any]], int]:
    """Return the rows of the slides to embed, and how many were left out because tiling failed."""
    rows = {row["slide_id"]: row for row in TILED_SLIDES.read_rows(tiles / "slides.parquet")}
    if cohort is not None:
        wanted = [slide.slide_id for slide in read_cohort(cohort)]
        rows = {name: rows.get(name, {"slide_id": name, "status": "missing"}) for name in wanted}
    tiled = [row for row in rows.values() if row["status"] != "failed"]
    return tiled, len(rows) - len(tiled)


def _refuse_mismatch(preset: Preset, rows: Sequence[Mapping[str, Any]]) -> None:
    shapes = {(row["tile_size"], row["target_mpp"]) for row in rows if row["status"] == "ok"}
    for tile_size, mpp in sorted(shapes):
        mismatches = preset.mismatches(tile_size, mpp)
        if mismatches:
            raise EncoderError(
                f"{preset.name}: {'; '.join(mismatches)}",
                hint="tile again with --tile-size and --target-mpp for this encoder, or pass --allow-mismatch",
            )


def _plan(row: Mapping[str, Any], tiles: Path, out: Path, made: Provenance) -> _Slide:
    name = row["slide_id"]
    table = tiles / f"{name}.parquet"
    read = file_fingerprint(table) if table.exists() else ""
    return _Slide(name, row.get("patient_id"), table, out / f"{name}.h5", replace(made, input_fingerprint=read))


def _tiles_to_read(slide: _Slide) -> SlideTiles | None:
    """Return the tiles to read; None where the features are there or the table is bad (its own turn will tell)."""
    try:
        return None if slide.is_current else kept_tiles(slide.table)[0]
    except FiveError:
        return None


@dataclass
class _Clock:
    """Where the time of a slide goes, seconds."""

    waiting: float = 0.0
    encoding: float = 0.0
    unreadable: int = 0

    def waited(self, batches: Iterator[TileBatch]) -> Iterator[TileBatch]:
        """Yield ``batches``, timing how long each lets the encoder wait."""
        while True:
            started = time.perf_counter()
            batch = next(batches, None)
            self.waiting += time.perf_counter() - started
            if batch is None:
                return
            self.unreadable += batch.n_unreadable
            yield batch


@dataclass(frozen=True)
class _EmbedSlide:
    """Writes the features of one slide after the other."""

    encoder: Encoder
    dtype: str
    stream: TileStream
    places: Mapping[str, int]
    """Position of a slide in ``stream``."""

    def __call__(self, slide: _Slide) -> Result:
        if slide.is_current:
            return Result(slide.slide_id, Outcome.KEPT, json.loads(read_notes(slide.output)["five.row"]))
        started = time.perf_counter()
        tiles, row = kept_tiles(slide.table)
        clock = _Clock()

        def record() -> dict[str, Any]:
            return {
                "slide_id": slide.slide_id,
                "patient_id": slide.patient_id,
                "status": "ok" if len(tiles.coords) else "empty",
                "encoder": self.encoder.preset.name,
                "dim": self.encoder.dim,
                "n_tiles": len(tiles.coords) - clock.unreadable,
                "n_unreadable": clock.unreadable,
                "read_seconds": clock.waiting,
                "encode_seconds": clock.encoding,
                "seconds": time.perf_counter() - started,
            }

        write_features(
            slide.output,
            self._batches(slide, len(tiles.coords), clock),
            n_tiles=len(tiles.coords),
            dim=self.encoder.dim,
            dtype=self.dtype,
            info=FeatureInfo(
                slide_id=slide.slide_id,
                encoder=self.encoder.preset.name,
                encoder_fingerprint=self.encoder.fingerprint,
                mpp_x=row["mpp_x"],
                mpp_y=row["mpp_y"],
                target_mpp=row["target_mpp"],
            ),
            coords_attributes=_coords_attributes(slide, row),
            provenance=slide.provenance,
            notes=lambda: {
                "five.row": canonical_json(record()),
                "precision": self.encoder.precision,
                "mismatch": "; ".join(self.encoder.preset.mismatches(row["tile_size"], row["target_mpp"])),
            },
        )
        return Result(slide.slide_id, Outcome.DONE if len(tiles.coords) else Outcome.EMPTY, record())

    def _batches(self, slide: _Slide, n_tiles: int, clock: _Clock) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Yield features and corners; raise where they cannot be of use."""
        sanity = FeatureSanity(slide.slide_id)
        for batch in clock.waited(self.stream.batches(self.places[slide.slide_id])):
            started = time.perf_counter()
            features = self.encoder(batch.pixels).astype(self.dtype)
            clock.encoding += time.perf_counter() - started
            sanity.add(features)
            yield features, batch.coords
        if n_tiles and clock.unreadable == n_tiles:
            raise SlideError(
                f"{slide.slide_id}: none of its {n_tiles} tiles can be read",
                hint="the slide file may be damaged or incomplete: copy it again",
            )
        sanity.finish()


def _coords_attributes(slide: _Slide, row: Mapping[str, Any]) -> CoordsAttributes:
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


def _records(slides: Sequence[_Slide], results: Sequence[Result], encoder: Encoder) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of ``slides.parquet``; none of a slide left to another process."""
    for slide, result in zip(slides, results, strict=True):
        if result.row:
            named = {"slide_id": slide.slide_id, "patient_id": slide.patient_id, "encoder": encoder.preset.name}
            yield {**named, **result.row}


def _figures(results: Sequence[Result], encoder: Encoder, seconds: float) -> dict[str, Any]:
    made = [result.row for result in results if result.outcome is Outcome.DONE]
    n_tiles = sum(row["n_tiles"] for row in made)
    return {
        "encoder": encoder.preset.name,
        "device": encoder.device,
        "precision": encoder.precision,
        "tiles": n_tiles,
        "tiles_per_second": round(n_tiles / seconds, 1),
        "seconds_waiting_for_pixels": round(sum(row["read_seconds"] for row in made), 2),
        "seconds_in_encoder": round(sum(row["encode_seconds"] for row in made), 2),
        "tiles_unreadable": sum(row["n_unreadable"] for row in made),
        **({"batch_size_that_fits": encoder.largest_batch} if encoder.largest_batch else {}),
    }
