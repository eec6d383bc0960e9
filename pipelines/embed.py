"""Stage ``five embed``: the kept tiles of every slide become features, of one or several encoders."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.batch import OnResult, Result, Summary, kept, run_with
from pipelines.core.batch.on_devices import OnDevices
from pipelines.core.cohort import read_cohort
from pipelines.core.devices import pick_devices
from pipelines.core.errors import SettingsError
from pipelines.core.resources import EmbedResources
from pipelines.core.schemas import EMBEDDED_SLIDES, TILED_SLIDES
from pipelines.core.selection import EVERYTHING, Selection, failed_ids
from pipelines.core.settings import EmbedSettings, PictureSettings
from pipelines.core.tiled_slide import TiledSlide
from pipelines.encoders.embedded_table import EmbeddedTable
from pipelines.encoders.feature_folder import FeatureFolder, refuse_mismatch
from pipelines.slides.tile_pass import Output, ReadOptions, TilePass
from pipelines.slides.tile_pictures import PictureFolder

__all__ = ["EmbedInputs", "EmbedResources", "EmbedSettings", "PictureSettings", "embed", "plan"]

MADE_BY = "five embed"


@dataclass(frozen=True)
class EmbedInputs:
    """Inputs of `embed`."""

    tiles: Path
    """Folder that ``five tile`` wrote."""


def embed(
    inputs: EmbedInputs,
    out: Path,
    settings: EmbedSettings | Sequence[EmbedSettings],
    *,
    selection: Selection = EVERYTHING,
    resources: EmbedResources = EmbedResources(),
    pictures: PictureSettings | None = None,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Write the features of every tiled slide to ``out/<slide_id>.h5``.

    Pixels are read from the slides, once for all encoders. A file that an earlier run made with
    the same encoder from the same tiles is kept; if all are, no encoder is loaded. Slides that
    ``five tile`` could not tile are left out, and their rows leave ``slides.parquet``. A slide that
    changed since it was tiled fails.

    Parameters
    ----------
    settings
        One encoder, or several. With several, each has its own folder ``out/<encoder>``.
    pictures
        Also keep the tiles as pictures, in ``out/patches/<slide_id>.zip``.

    Raises
    ------
    EncoderError
        An encoder cannot be built, or was trained on other tiles than these.
    ArtifactError
        The tiles are not the output of ``five tile``, or a folder belongs to other settings.
    """
    selection.require_only(MADE_BY, "cohort", "only_failed", "shard", "overwrite")
    tiles = inputs.tiles
    tiled = TILED_SLIDES.read_rows(tiles / "slides.parquet")
    folders = _feature_folders(tiled, out, settings, compile=resources.compile)
    rows, n_left_out = _selected(tiled, selection, folders)
    outputs: list[FeatureFolder | PictureFolder] = [*folders]
    if pictures:
        outputs.append(PictureFolder(out / "patches", pictures, resources.workers))
    for output in [] if selection.overwrite else outputs:
        output.refuse_other_settings()

    slides = {row["slide_id"]: TiledSlide.of(row, tiles) for row in rows}
    needed = {name: [not output.is_current(slide) for output in outputs] for name, slide in slides.items()}
    tables = [EmbeddedTable(folder) for folder in folders]
    gone: set[str] = set()
    for place, table in enumerate(tables):
        gone |= table.remove_outdated(tiled, {name for name, needs in needed.items() if needs[place]})

    def record(result: Result) -> None:
        for table in tables:
            table.add(slides[result.item_id], result)
        on_result(replace(result, total=len(slides)))

    started = time.perf_counter()
    with ExitStack() as stack:
        for table in tables:
            stack.enter_context(table.writer)
        results = _run(slides, outputs, needed, resources, out, record)
    encoders = ", ".join(folder.preset.name for folder in folders)
    facts = {"encoder": encoders, **_speed(results, time.perf_counter() - started), "slides_left_out": n_left_out}
    return Summary(out, tuple(results), facts | ({"slides_gone": len(gone)} if gone else {}))


def plan(
    inputs: EmbedInputs,
    out: Path,
    settings: EmbedSettings | Sequence[EmbedSettings],
    *,
    selection: Selection = EVERYTHING,
) -> dict[str, Any]:
    """Return what `embed` would do, without loading an encoder and without writing.

    ``seconds`` is estimated from the speed of an earlier run of the same encoders, if there is one.

    Raises
    ------
    FiveError
        As `embed` does before it reads a slide.
    """
    selection.require_only(MADE_BY, "cohort", "only_failed", "shard", "overwrite")
    tiles = inputs.tiles
    tiled = TILED_SLIDES.read_rows(tiles / "slides.parquet")
    folders = _feature_folders(tiled, out, settings)
    for folder in [] if selection.overwrite else folders:
        folder.refuse_other_settings()
    rows, n_left_out = _selected(tiled, selection, folders)
    slides = [TiledSlide.of(row, tiles) for row in rows]
    todo = {slide.slide_id for slide in slides if not all(folder.is_current(slide) for folder in folders)}
    n_tiles = sum(row["n_tiles"] or 0 for row in rows if row["slide_id"] in todo)
    widths = [folder.preset.dim * np.dtype(folder.settings.dtype).itemsize for folder in folders]
    rates = [_rate(folder.folder / "slides.parquet") for folder in folders]
    return {
        "slides": len(rows) + n_left_out,
        "left_out": n_left_out,
        "current": len(slides) - len(todo),
        "to_do": len(todo),
        "tiles_to_do": n_tiles,
        # the width of a timm network is known only after it is built
        "gigabytes_to_write": round(n_tiles * sum(widths) / 1e9, 3) if all(widths) else "not known",
        "seconds": round(n_tiles / min(rates), 1) if all(rates) else "not known",
    }


def _rate(table: Path) -> float:
    """Return tiles per second over the slides in ``table``, 0 without slides."""
    rows = [row for row in EMBEDDED_SLIDES.read_rows(table) if row["status"] == "ok"] if table.exists() else []
    seconds = sum(row["seconds"] for row in rows)
    return float(sum(row["n_tiles"] for row in rows) / seconds) if seconds else 0.0


def _feature_folders(
    tiled: Sequence[Mapping[str, Any]],
    out: Path,
    settings: EmbedSettings | Sequence[EmbedSettings],
    *,
    compile: bool = False,
) -> list[FeatureFolder]:
    """Return the folder of each encoder. An encoder trained on other tiles is refused before its weights are loaded."""
    for tile_size, mpp in sorted({(row["tile_size"], row["target_mpp"]) for row in tiled if row["status"] == "ok"}):
        for each in [settings] if isinstance(settings, EmbedSettings) else settings:
            refuse_mismatch(each, tile_size, mpp)
    if isinstance(settings, EmbedSettings):
        return [FeatureFolder.of(out, settings, compile=compile)]
    names = [re.sub(r"[^\w.-]+", "-", each.encoder).strip("-.") for each in settings]
    if len(set(names)) < len(names):
        raise SettingsError(f"--encoder: {', '.join(names)}: the same folder twice", hint="name each encoder once")
    return [FeatureFolder.of(out / name, each, compile=compile) for name, each in zip(names, settings, strict=True)]


def _selected(
    tiled: Sequence[Mapping[str, Any]], selection: Selection, folders: Sequence[FeatureFolder]
) -> tuple[list[Mapping[str, Any]], int]:
    """Return the rows of the slides to embed, and how many were left out because tiling failed."""
    rows: dict[str, Mapping[str, Any]] = {row["slide_id"]: row for row in tiled}
    if selection.cohort is not None:
        wanted = [slide.slide_id for slide in read_cohort(selection.cohort)]
        rows = {name: rows.get(name, {"slide_id": name, "status": "missing"}) for name in wanted}
    chosen = list(rows.values())
    if selection.only_failed:
        failed = set().union(*(failed_ids(EMBEDDED_SLIDES, folder.folder / "slides.parquet") for folder in folders))
        chosen = [row for row in chosen if row["slide_id"] in failed]
    chosen = selection.shard.of(chosen)
    usable = [row for row in chosen if row["status"] in ("ok", "empty")]
    return usable, len(chosen) - len(usable)


def _run(
    slides: Mapping[str, TiledSlide],
    outputs: Sequence[Output],
    needed: Mapping[str, Sequence[bool]],
    resources: EmbedResources,
    folder: Path,
    on_result: OnResult,
) -> list[Result]:
    """Return a result per slide. Nothing is loaded if all are current.

    Parameters
    ----------
    needed
        Slide id -> for each output, whether it is to be made.
    """
    results = {name: kept(name, folder) for name, needs in needed.items() if not any(needs)}
    for result in results.values():
        on_result(result)
    todo = [slide for name, slide in slides.items() if any(needed[name])]
    if todo:
        used = [output for place, output in enumerate(outputs) if any(needs[place] for needs in needed.values())]
        options = ReadOptions(resources.batch_size, resources.workers, resources.stage_dir)
        runner = OnDevices(pick_devices(resources.device), TilePass(used, options))
        results.update(
            {result.item_id: result for result in run_with(runner, todo, folder=folder, on_result=on_result)}
        )
    for output in outputs:
        output.claim()
    return [results[name] for name in slides]


def _speed(results: Sequence[Result], seconds: float) -> dict[str, Any]:
    """Return the speed and what limits it; empty if all slides were current."""
    slides = [list(result.rows.values()) for result in results if result.rows]
    rows = [row for slide in slides for row in slide]
    if not rows:
        return {}
    n_tiles = sum(slide[0]["n_tiles"] for slide in slides)
    waiting = sum(slide[0]["read_seconds"] for slide in slides)
    encoding = sum(row["encode_seconds"] for row in rows)
    working = sum(slide[0]["seconds"] for slide in slides)
    fits = [row["largest_batch"] for row in rows if row["largest_batch"]]
    return {
        "device": ", ".join(sorted({row["device"] for row in rows})),
        "precision": ", ".join(sorted({row["precision"] for row in rows})),
        "tiles": n_tiles,
        "seconds": round(seconds, 2),
        "seconds_on_slides": round(working, 2),  # summed over processes, like the next two
        "seconds_waiting_for_pixels": round(waiting, 2),
        "seconds_in_encoder": round(encoding, 2),
        "tiles_per_second": round(n_tiles / seconds, 1),
        "bounded_by": "reading: more --workers may help" if waiting > encoding else "the encoder",
        "tiles_unreadable": sum(slide[0]["n_unreadable"] for slide in slides),
        **({"batch_size_that_fits": min(fits)} if fits else {}),
    }
