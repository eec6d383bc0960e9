"""Stage: slides -> tiles. Find tissue, lay an exact grid over it, judge every tile."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from pipelines.core.arrow_arrays import arrow_array
from pipelines.core.batch import OnResult, Outcome, Result, Summary, run_batch
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SlideError
from pipelines.core.files import canonical_json, file_fingerprint, fingerprint, replacing
from pipelines.core.folder import claim_folder, update_table
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TILED_SLIDES, TILES
from pipelines.core.settings import TileSettings
from pipelines.slides import Slide, Thumbnail, open_slide
from pipelines.slides.given_mask import find_mask, read_mask
from pipelines.slides.grid import Grid, tile_grid, tile_means
from pipelines.slides.outlines import outlines, write_tissue_geojson
from pipelines.slides.overview import overview
from pipelines.slides.quality import Quality, judge_tiles, unreadable_share
from pipelines.slides.slide_files import slide_files, slide_fingerprint
from pipelines.slides.staging import IN_PLACE, CopiesAhead, Stage, staging
from pipelines.slides.tissue import Mask, tissue_mask

ROW_NOTE = "five.row"
"""Attribute of a tile table that holds the slide's row of `TILED_SLIDES` as JSON."""


def tile(
    slides: Sequence[CohortSlide],
    out: Path,
    settings: TileSettings,
    *,
    masks: Path | None = None,
    stage_dir: Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Write the tiles of every slide to ``out/<slide_id>.parquet``, with tissue outlines and a picture.

    Tables that an earlier run made from the same file with the same settings are kept. A
    slide that cannot be used is recorded in ``out/slides.parquet`` and the others go on.

    Parameters
    ----------
    masks
        Folder of ``<slide_id>.geojson`` or ``.png`` that tell where the tissue is; it is found
        by itself in slides without one.
    stage_dir
        Local folder that slides on slow storage are copied to before their turn, ``workers + 3``
        at a time at most, and deleted from after it.

    Raises
    ------
    ChangedSettingsError
        ``out`` was made with other settings, and ``overwrite`` is False.
    """
    provenance = Provenance.of(settings)
    claim_folder(out, "five tile", provenance, overwrite=overwrite)
    with staging(stage_dir) as stage:
        work = TileOneSlide(out, settings, masks, stage)
        ahead = CopiesAhead(stage, work.is_current) if stage_dir else None
        results = run_batch(slides, work, workers=workers, folder=out, ahead=ahead, on_result=on_result)
    rows = [
        {**_identity(slide), **result.row}
        for slide, result in zip(slides, results, strict=True)
        if result.outcome is not Outcome.BUSY
    ]
    update_table(TILED_SLIDES, out / "slides.parquet", rows, "slide_id", provenance)
    figures = {"tiles": sum(row.get("n_tiles") or 0 for row in rows), "conflicts_of_mpp": _conflicts(rows)}
    return Summary(out, tuple(results), {name: value for name, value in figures.items() if value != {}})


def plan(
    slides: Sequence[CohortSlide], out: Path, settings: TileSettings, *, masks: Path | None = None
) -> dict[str, int | float]:
    """Say what `tile` would do, without opening a slide and without writing."""
    work = TileOneSlide(out, settings, masks)
    found = [slide for slide in slides if slide.path is not None and slide.path.is_file()]
    todo = [slide for slide in found if not work.is_current(slide)]
    return {
        "slides": len(slides),
        "without_file": len(slides) - len(found),
        "current": len(found) - len(todo),
        "to_do": len(todo),
        "gigabytes_to_do": round(sum(_size(slide.path) for slide in todo if slide.path) / 1e9, 3),
    }


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in slide_files(path))


def _identity(slide: CohortSlide) -> dict[str, Any]:
    path = str(slide.path.absolute()) if slide.path else None
    return {"slide_id": slide.slide_id, "path": path, "patient_id": slide.patient_id}


def _conflicts(rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {row["slide_id"]: row["mpp_conflict"] for row in rows if row.get("mpp_conflict")}


@dataclass(frozen=True)
class TileOneSlide:
    """The work on one slide (a class, so that it travels to worker processes)."""

    out: Path
    settings: TileSettings
    masks: Path | None = None
    stage: Stage = IN_PLACE

    def __call__(self, slide: CohortSlide) -> Result:
        """Make the files of ``slide``, or keep those that are current."""
        started = time.perf_counter()
        cv2.setNumThreads(1)  # slides run in parallel; threads within one would compete
        path, table = _path_of(slide), self._table(slide)
        provenance = self._provenance(slide)
        if TILES.is_current(table, provenance):
            return self._kept(slide, table, provenance)
        table.unlink(missing_ok=True)  # of other settings, or of another slide file
        with self.stage.local(path) as copy, open_slide(copy, self.settings.mpp, cohort_mpp=slide.mpp) as opened:
            row, tiles = self._make(slide, opened)
        row["seconds"] = time.perf_counter() - started
        TILES.write(table, tiles, provenance, notes={ROW_NOTE: canonical_json(row)})
        return Result(slide.slide_id, Outcome.DONE if row["n_tiles"] else Outcome.EMPTY, row)

    def is_current(self, slide: CohortSlide) -> bool:
        """Tell whether the tiles of ``slide`` are there, made from the same file in the same way."""
        return TILES.is_current(self._table(slide), self._provenance(slide))

    def _table(self, slide: CohortSlide) -> Path:
        return self.out / f"{slide.slide_id}.parquet"

    def _mask(self, slide: CohortSlide) -> Path | None:
        return find_mask(self.masks, slide.slide_id) if self.masks else None

    def _provenance(self, slide: CohortSlide) -> Provenance:
        path, mask = _path_of(slide), self._mask(slide)
        try:
            made_from = [slide_fingerprint(path), slide.mpp, file_fingerprint(mask) if mask else None]
        except OSError as error:
            raise SlideError(
                f"{path}: cannot be read: {error.strerror}", hint="check the cohort column 'path' and the file's rights"
            ) from error
        return Provenance.of(self.settings, fingerprint(made_from))

    def _kept(self, slide: CohortSlide, table: Path, provenance: Provenance) -> Result:
        """Keep the tiles; a slide that moved or got another patient gets its row put right."""
        row = {**tiled_row(table), **_identity(slide)}
        if row != tiled_row(table):
            TILES.write(table, TILES.read(table), provenance, notes={ROW_NOTE: canonical_json(row)})
        return Result(slide.slide_id, Outcome.KEPT, row)

    def _make(self, cohort_slide: CohortSlide, slide: Slide) -> tuple[dict[str, Any], pa.Table]:
        settings, scale = self.settings, slide.micron_scale
        if scale.mean > settings.target_mpp * settings.max_enlargement:
            raise SlideError(
                f"{slide.path}: {scale.mean:.4g} microns per pixel is too coarse for tiles at {settings.target_mpp:g}",
                hint="raise --target-mpp, or --max-enlargement to allow enlarged pixels",
            )
        thumbnail = slide.thumbnail(settings.tissue_mpp)
        mask = self._tissue(cohort_slide, slide, thumbnail)
        every = tile_grid(slide.dimensions, settings.tile_size, settings.overlap, settings.target_mpp / scale.mean)
        tissue = tile_means(mask, every, thumbnail.downsample)
        candidate = (tissue > 0) | (unreadable_share(every, thumbnail) > 0)
        grid, tissue = every.where(candidate), tissue[candidate]
        quality = judge_tiles(slide, grid, tissue, thumbnail, settings)
        tiles = tile_table(grid, tissue, quality, keep_all=settings.keep_all)

        polygons = outlines(mask, thumbnail.downsample)
        with replacing(self.out / "tissue" / f"{cohort_slide.slide_id}.geojson") as part:
            write_tissue_geojson(part, polygons)
        picture = overview(thumbnail, polygons, grid, quality.reason)
        with replacing(self.out / "qc" / f"{cohort_slide.slide_id}.jpg") as part:
            # cv2.imwrite would not tell of a full disk
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            part.write_bytes(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, 85))[1].tobytes())
        return {**_identity(cohort_slide), **self._slide_row(slide, grid, tiles)}, tiles

    def _tissue(self, cohort_slide: CohortSlide, slide: Slide, thumbnail: Thumbnail) -> Mask:
        given = self._mask(cohort_slide)
        if given is not None:
            return read_mask(given, thumbnail, slide.dimensions)
        settings = self.settings
        return tissue_mask(
            thumbnail.rgb, thumbnail.mpp, method=settings.tissue_method, min_area_mm2=settings.min_area_mm2
        )

    def _slide_row(self, slide: Slide, grid: Grid, tiles: pa.Table) -> dict[str, Any]:
        settings, scale = self.settings, slide.micron_scale
        n_tiles = sum(tiles["keep"].to_pylist())
        level = slide.best_level(grid.size / settings.tile_size)
        downsample = slide.level_downsamples[level]
        read_edge = round(grid.size / downsample)
        return {
            "status": "ok" if n_tiles else "empty",
            "n_candidates": len(grid),
            "n_tiles": n_tiles,
            "width": slide.dimensions[0],
            "height": slide.dimensions[1],
            "mpp_x": scale.x,
            "mpp_y": scale.y,
            "mpp_source": scale.source,
            "mpp_conflict": scale.conflict,
            "vendor": slide.vendor,
            "read_level": level,
            "tile_size": settings.tile_size,
            "target_mpp": settings.target_mpp,
            "effective_mpp": read_edge * downsample * scale.mean / settings.tile_size,
            "tile_size_level0": grid.size,
        }


def _path_of(slide: CohortSlide) -> Path:
    if slide.path is None:
        raise SlideError(f"{slide.slide_id}: the cohort table gives no path", hint="fill its column 'path'")
    return slide.path


def tile_table(grid: Grid, tissue: Any, quality: Quality, *, keep_all: bool) -> pa.Table:
    """Return the tiles of one slide as a `TILES` table.

    Parameters
    ----------
    tissue
        (N,) share of each tile that is tissue.
    keep_all
        Keep tiles whose only fault is their quality.
    """
    dropped = np.isin(quality.reason, ("background", "unreadable")) if keep_all else quality.reason != ""
    columns = {
        "x": grid.x,
        "y": grid.y,
        "row": grid.row,
        "col": grid.col,
        "tissue_fraction": tissue,
        "white_fraction": quality.white,
        "black_fraction": quality.black,
        "pen_fraction": quality.pen,
        "fold_fraction": quality.fold,
        "focus": quality.focus,
        "contrast": quality.contrast,
        "keep": ~dropped,
        "reason": [reason or None for reason in quality.reason.tolist()],
    }
    measured = {name: ~np.isnan(columns[name]) for name in ("focus", "contrast")}
    arrays = [arrow_array(columns[field.name], field.type, valid=measured.get(field.name)) for field in TILES.schema]
    return pa.Table.from_arrays(arrays, schema=TILES.schema)


def tiled_row(table: Path) -> dict[str, Any]:
    """Return the row of `TILED_SLIDES` that the tile table of a slide carries."""
    row: dict[str, Any] = json.loads(TILES.notes(table)[ROW_NOTE])
    return row
