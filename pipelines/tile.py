"""Stage: slides -> tiles. Find tissue, lay an exact grid over it, judge every tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.batch import OnResult, Outcome, Result, Summary, run_batch, run_with
from pipelines.core.batch.on_ray import OnRay
from pipelines.core.cohort import CohortSlide, read_cohort, restricted
from pipelines.core.errors import SettingsError
from pipelines.core.files import file_fingerprint
from pipelines.core.folder import claim_folder, refuse_other_settings, update_table
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TILED_SLIDES
from pipelines.core.selection import Selection, failed_ids, only
from pipelines.core.settings import TileSettings
from pipelines.core.settings.tile import NETWORK_METHODS
from pipelines.slides.given_mask import find_mask
from pipelines.slides.local_copies import CopiesAhead, staging
from pipelines.slides.slide_files import slide_files
from pipelines.slides.slide_tiling import Network, TileOneSlide, identity

MADE_BY = "five tile"


def selected_slides(source: Path, out: Path, selection: Selection) -> list[CohortSlide]:
    """Return the slides of ``source`` (cohort table, folder, one slide file) that are to be tiled into ``out``.

    Raises
    ------
    CohortError
        ``source`` or the cohort table of ``selection`` cannot be used.
    """
    slides = restricted(read_cohort(source), selection.cohort)
    if selection.only_failed:
        slides = only(slides, failed_ids(TILED_SLIDES, out / "slides.parquet"))
    return selection.shard.of(slides)


def tile(
    slides: Sequence[CohortSlide],
    out: Path,
    settings: TileSettings,
    *,
    masks: Path | None = None,
    stage_dir: Path | None = None,
    tissue_weights: Path | None = None,
    device: str = "auto",
    ray: str | None = None,
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
    tissue_weights, device
        Weights of the network that ``settings.tissue_method`` names, and where it runs.
    ray
        Address of a Ray cluster to run on, in place of ``workers`` on this machine (see `OnRay`).

    Raises
    ------
    SettingsError
        The method needs weights that are not given, or other ones; or the cluster cannot be used.
    ChangedSettingsError
        ``out`` was made with other settings, and ``overwrite`` is False.
    """
    if ray is not None and stage_dir is not None:
        raise SettingsError("--stage-dir is a folder of this machine", hint="leave it out with --ray")
    network = _network(settings, tissue_weights, device)
    provenance = Provenance.of(settings)
    claim_folder(out, MADE_BY, provenance, overwrite=overwrite)
    with staging(stage_dir) as stage:
        results = _run(slides, TileOneSlide(out, settings, masks, stage, network), workers, ray, on_result)
    rows = [
        {**identity(slide), **result.row}
        for slide, result in zip(slides, results, strict=True)
        if result.outcome is not Outcome.BUSY
    ]
    update_table(TILED_SLIDES, out / "slides.parquet", rows, "slide_id", provenance)
    figures: dict[str, Any] = {"tiles": sum(row.get("n_tiles") or 0 for row in rows)}
    if conflicts := {row["slide_id"]: row["mpp_conflict"] for row in rows if row.get("mpp_conflict")}:
        figures["conflicts_of_mpp"] = conflicts
    return Summary(out, tuple(results), figures | _with_mask(slides, masks))


def _run(
    slides: Sequence[CohortSlide], work: TileOneSlide, workers: int, ray: str | None, on_result: OnResult
) -> list[Result]:
    if ray is None:
        ahead = CopiesAhead(work.stage, work.is_current) if work.stage.folder else None
        return run_batch(slides, work, workers=workers, folder=work.out, ahead=ahead, on_result=on_result)
    work = work.with_absolute_paths()
    slides = [replace(slide, path=slide.path.absolute() if slide.path else None) for slide in slides]
    return run_with(OnRay(ray, work), slides, folder=work.out, on_result=on_result)


def plan(
    slides: Sequence[CohortSlide],
    out: Path,
    settings: TileSettings,
    *,
    masks: Path | None = None,
    tissue_weights: Path | None = None,
    overwrite: bool = False,
) -> dict[str, int | float]:
    """Say what `tile` would do, without opening a slide and without writing.

    Raises
    ------
    ChangedSettingsError
        As `tile` does.
    """
    refuse_other_settings(out, MADE_BY, Provenance.of(settings), overwrite=overwrite)
    network = Network(tissue_weights, file_fingerprint(tissue_weights)) if tissue_weights else None
    work = TileOneSlide(out, settings, masks, network=network)
    found = [slide for slide in slides if slide.path is not None and slide.path.is_file()]
    todo = [slide for slide in found if not work.is_current(slide)]
    return {
        "slides": len(slides),
        "without_file": len(slides) - len(found),
        "current": len(found) - len(todo),
        "to_do": len(todo),
        "gigabytes_to_do": round(sum(_size(slide.path) for slide in todo if slide.path) / 1e9, 3),
    } | _with_mask(slides, masks)


def _network(settings: TileSettings, weights: Path | None, device: str) -> Network | None:
    """Return the network that ``settings`` ask for, if they do; its weights are checked before any slide is read."""
    name = settings.tissue_method
    if (name in NETWORK_METHODS) != (weights is not None):
        raise SettingsError(
            f"--tissue-method {name} {'needs weights' if weights is None else 'takes no weights'}",
            hint="pass --tissue-weights FILE" if weights is None else "leave out --tissue-weights",
        )
    if weights is None:
        return None
    from pipelines.core.devices import pick_device
    from pipelines.slides.tissue_networks import load_network

    network = Network(weights, file_fingerprint(weights), pick_device(device))
    load_network(name, weights, network.device)
    return network


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in slide_files(path))


def _with_mask(slides: Sequence[CohortSlide], masks: Path | None) -> dict[str, int]:
    """Return how many slides have a mask of their own, so that a folder with other names is noticed."""
    if masks is None:
        return {}
    return {"slides_with_mask": sum(find_mask(masks, slide.slide_id) is not None for slide in slides)}
