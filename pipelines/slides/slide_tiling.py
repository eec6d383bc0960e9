"""Tile one slide: the work of ``five tile`` per slide."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa

from pipelines.core.batch import Outcome, Result
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SlideError
from pipelines.core.files import canonical_json, file_digest, fingerprint, replacing
from pipelines.core.item_names import printable
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TILES
from pipelines.core.settings import TileSettings
from pipelines.core.tiled_slide import ROW_NOTE, noted_row, tiles_fingerprint
from pipelines.slides.contact_sheet import contact_sheet
from pipelines.slides.given_mask import find_mask, read_mask
from pipelines.slides.grid import Grid, tile_grid, tile_means
from pipelines.slides.local_copies import IN_PLACE, LocalCopies
from pipelines.slides.outlines import outlines, write_tissue_geojson
from pipelines.slides.overview import overview
from pipelines.slides.pictures import write_picture
from pipelines.slides.quality import judge_tiles, unreadable_share
from pipelines.slides.slide import Slide, Thumbnail, open_slide
from pipelines.slides.slide_files import slide_fingerprint
from pipelines.slides.slide_outputs import OUTPUTS_NOTE, SlideOutputs, recorded_digests
from pipelines.slides.tile_table import tile_table
from pipelines.slides.tissue import Mask, tissue_mask


@dataclass(frozen=True)
class Network:
    """Weights of the network that detects tissue, and the device that it runs on."""

    weights: Path
    fingerprint: str
    """Fingerprint of the weights file."""
    device: str = "cpu"


def identity(slide: CohortSlide) -> dict[str, Any]:
    """Return the columns of a slide's row that come from the cohort."""
    path = printable(str(slide.path.absolute())) if slide.path else None
    return {"slide_id": slide.slide_id, "path": path, "patient_id": slide.patient_id}


@dataclass(frozen=True)
class TileOneSlide:
    """Tiles one slide. A class rather than a closure, so that it can be sent to worker processes."""

    out: Path
    """Output folder."""
    settings: TileSettings
    masks: Path | None = None
    """Folder with tissue masks drawn by the user."""
    copies: LocalCopies = IN_PLACE
    network: Network | None = None

    def __call__(self, slide: CohortSlide) -> Result:
        """Write the files of ``slide``, or keep them if they are up to date. An edited outline is never overwritten."""
        started = time.perf_counter()
        cv2.setNumThreads(1)  # slides are processed in parallel, so threads within a slide would compete
        path, table = _path_of(slide), self._table(slide)
        made_from = slide_fingerprint(path)
        provenance, outputs = self._provenance(slide, made_from), self._outputs(slide)
        notes = TILES.notes(table) if TILES.is_current(table, provenance) else {}
        recorded = recorded_digests(notes)
        edited = outputs.outline_is_edited(recorded)
        if notes and outputs.are_as_recorded(recorded, edited=edited):
            return self._kept(slide, notes, provenance, outputs.edited_error() if edited else None)
        if not notes:
            if edited:
                raise outputs.edited_error()
            table.unlink(missing_ok=True)  # made with other settings or from another slide file
        with (
            self.copies.local(path, slide.slide_id) as copy,
            open_slide(copy, self.settings.mpp, cohort_mpp=slide.mpp) as opened,
        ):
            row, tiles = self._tile(slide, opened, outputs, edited=edited)
        row["slide_fingerprint"] = made_from
        row["tiles_fingerprint"] = tiles_fingerprint(row, tiles, self.settings.overlap)
        row["seconds"] = time.perf_counter() - started
        notes = {ROW_NOTE: canonical_json(row), OUTPUTS_NOTE: outputs.note(recorded, edited=edited)}
        TILES.write(table, tiles, provenance, notes=notes)
        outcome = Outcome.DONE if row["n_tiles"] else Outcome.EMPTY
        return Result(slide.slide_id, outcome, row, note=_one_line(outputs.edited_error() if edited else None))

    def with_absolute_paths(self) -> TileOneSlide:
        """Return the same work with absolute paths, for processes with another working directory."""
        network = self.network and replace(self.network, weights=self.network.weights.absolute())
        return replace(self, out=self.out.absolute(), masks=self.masks and self.masks.absolute(), network=network)

    def is_current(self, slide: CohortSlide) -> bool:
        """Return whether the files of ``slide`` exist, made from the same slide with the same settings."""
        table, outputs = self._table(slide), self._outputs(slide)
        if not TILES.is_current(table, self._provenance(slide, slide_fingerprint(_path_of(slide)))):
            return False
        recorded = recorded_digests(TILES.notes(table))
        return outputs.are_as_recorded(recorded, edited=outputs.outline_is_edited(recorded))

    def _table(self, slide: CohortSlide) -> Path:
        return self.out / f"{slide.slide_id}.parquet"

    def _outputs(self, slide: CohortSlide) -> SlideOutputs:
        outputs, given = SlideOutputs(self.out, slide.slide_id), self._mask(slide)
        is_given = given is not None and given.resolve() == outputs.outline.resolve()
        return replace(outputs, outline_is_given=is_given)

    def _mask(self, slide: CohortSlide) -> Path | None:
        return find_mask(self.masks, slide.slide_id) if self.masks else None

    def _provenance(self, slide: CohortSlide, slide_files: str) -> Provenance:
        mask = self._mask(slide)
        try:
            made_from = [slide_files, slide.mpp, file_digest(mask) if mask else None]
        except OSError as error:
            raise SlideError(f"{mask}: cannot be read: {error.strerror}", hint="check its permissions") from error
        if self.network is not None:
            made_from.append(self.network.fingerprint)
        return Provenance.of(self.settings, fingerprint(made_from))

    def _kept(
        self, slide: CohortSlide, notes: Mapping[str, str], provenance: Provenance, edited: SlideError | None
    ) -> Result:
        """Keep the tiles, but update the row if the slide's path or patient has changed."""
        table = self._table(slide)
        earlier = noted_row(notes, table)
        row = {**earlier, **identity(slide)}
        if row != earlier:
            own = {ROW_NOTE: canonical_json(row), OUTPUTS_NOTE: notes[OUTPUTS_NOTE]}
            TILES.write(table, TILES.read(table), provenance, notes=own)
        return Result(slide.slide_id, Outcome.KEPT, row, note=_one_line(edited))

    def _tile(
        self, cohort_slide: CohortSlide, slide: Slide, outputs: SlideOutputs, *, edited: bool
    ) -> tuple[dict[str, Any], pa.Table]:
        settings, scale = self.settings, slide.micron_scale
        if scale.mean > settings.target_mpp * settings.max_enlargement:
            raise SlideError(
                f"{slide.path}: {scale.mean:.4g} microns per pixel are too coarse for tiles at {settings.target_mpp:g}",
                hint="raise --target-mpp, or raise --max-enlargement to allow enlarged pixels",
            )
        thumbnail = slide.thumbnail(settings.tissue_mpp)
        mask = self._tissue(cohort_slide, slide, thumbnail)
        full_grid = tile_grid(slide.dimensions, settings.tile_size, settings.overlap, settings.target_mpp / scale.mean)
        tissue = tile_means(mask, full_grid, thumbnail.downsample)
        candidate = (tissue > 0) | (unreadable_share(full_grid, thumbnail) > 0)
        grid, tissue = full_grid.where(candidate), tissue[candidate]
        quality = judge_tiles(slide, grid, tissue, thumbnail, settings)
        tiles = tile_table(grid, tissue, quality, keep_all=settings.keep_all)

        polygons = outlines(mask, thumbnail.downsample)
        if not (outputs.outline_is_given or edited):  # never overwrite what the user has drawn
            with replacing(outputs.outline) as part:
                write_tissue_geojson(part, polygons)
        write_picture(outputs.overview, overview(thumbnail, polygons, grid, quality.reason))
        write_picture(outputs.contact_sheet, contact_sheet(slide, grid, quality, settings))
        return {**identity(cohort_slide), **self._slide_row(slide, grid, tiles)}, tiles

    def _tissue(self, cohort_slide: CohortSlide, slide: Slide, thumbnail: Thumbnail) -> Mask:
        given = self._mask(cohort_slide)
        if given is not None:
            return read_mask(given, thumbnail, slide.dimensions)
        method, min_area = self.settings.tissue_method, self.settings.min_area_mm2
        if self.network is None:
            return tissue_mask(thumbnail.rgb, thumbnail.mpp, method=method, min_area_mm2=min_area)
        from pipelines.slides.tissue_networks import NETWORKS, load_tissue_network, network_mask

        module = load_tissue_network(method, self.network.weights, self.network.device)
        return network_mask(slide, thumbnail, NETWORKS[method], module, min_area_mm2=min_area)

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
    if slide.problem is not None:
        raise SlideError(slide.problem, hint="rename the file, or add a column 'slide_id' with another id")
    if slide.path is None:
        raise SlideError(
            f"{slide.slide_id}: no slide file with this name",
            hint="fill the column 'path' of the cohort, or pass the folder of slides, and the table as --cohort",
        )
    return slide.path


def _one_line(error: SlideError | None) -> str:
    return f"{error.message} ({error.hint})" if error else ""
