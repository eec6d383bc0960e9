"""Stage ``five tile``: find the tissue of every slide, lay a grid over it, and score every tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.batch import OnResult, Outcome, Result, Summary, run_batch, run_with
from pipelines.core.batch.on_ray import OnRay
from pipelines.core.cohort import CohortSlide, read_cohort, slides_in_cohort
from pipelines.core.errors import SettingsError
from pipelines.core.files import file_fingerprint
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.provenance import Provenance
from pipelines.core.resources import TileResources
from pipelines.core.schemas import TILED_SLIDES
from pipelines.core.selection import EVERYTHING, Selection, failed_ids, only
from pipelines.core.settings import TileSettings
from pipelines.core.settings.tile import NETWORK_METHODS
from pipelines.core.table_writer import TableWriter
from pipelines.slides.given_mask import find_mask
from pipelines.slides.local_copies import CopiesAhead, local_copies
from pipelines.slides.slide_files import slide_files
from pipelines.slides.slide_tiling import Network, TileOneSlide, identity
from pipelines.slides.tiled_table import prepare_table

__all__ = ["TileInputs", "TileResources", "TileSettings", "plan", "tile"]

MADE_BY = "five tile"
SELECTS = ("cohort", "only_failed", "shard", "overwrite")
"""Parts of a selection that the stage supports."""


@dataclass(frozen=True)
class TileInputs:
    """Inputs of `tile`."""

    slides: Path | Sequence[CohortSlide]
    """Cohort table, folder of slides, one slide file, or slides that were read before."""
    masks: Path | None = None
    """Folder of ``<slide_id>.geojson`` or ``<slide_id>.png`` that mark the tissue. Tissue is
    detected in slides without one."""
    tissue_weights: Path | None = None
    """Weights of the network that ``settings.tissue_method`` names."""

    @property
    def folder(self) -> Path | None:
        """The input, if it is a folder of slides."""
        return self.slides if isinstance(self.slides, Path) and self.slides.is_dir() else None

    def read(self) -> list[CohortSlide]:
        """Return all slides of the input.

        Raises
        ------
        CohortError
            They cannot be read.
        """
        return read_cohort(self.slides) if isinstance(self.slides, Path) else list(self.slides)

    @staticmethod
    def selected(slides: Sequence[CohortSlide], out: Path, selection: Selection) -> list[CohortSlide]:
        """Return those of ``slides`` to tile into ``out``.

        Raises
        ------
        CohortError
            The cohort table of ``selection`` cannot be read.
        """
        slides = slides_in_cohort(slides, selection.cohort)
        if selection.only_failed:
            slides = only(slides, failed_ids(TILED_SLIDES, out / "slides.parquet"))
        return selection.shard.of(slides)


def tile(
    inputs: TileInputs,
    out: Path,
    settings: TileSettings,
    *,
    selection: Selection = EVERYTHING,
    resources: TileResources = TileResources(),
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Write the tiles of every slide to ``out/<slide_id>.parquet``, with tissue outlines and an overview picture.

    Tables that an earlier run made from the same file with the same settings are kept. A slide
    that cannot be used is recorded as failed in ``out/slides.parquet``, and the batch continues. The
    table is written as the run goes; slides that are gone from the input leave it.

    Raises
    ------
    CohortError
        The slides or the cohort table cannot be read.
    SettingsError
        The tissue method needs weights that are not given, or weights are given for a method
        without a network; or the Ray cluster cannot be used.
    ChangedSettingsError
        ``out`` was made with other settings, and ``selection.overwrite`` is False.
    """
    selection.require_only(MADE_BY, *SELECTS)
    if resources.ray is not None and resources.stage_dir is not None:
        raise SettingsError("--stage-dir is a folder of this machine", hint="leave it out with --ray")
    listed = inputs.read()
    slides = inputs.selected(listed, out, selection)
    network = _network(settings, inputs.tissue_weights, resources.device)
    provenance = Provenance.of(settings)
    claim_folder(out, MADE_BY, _claimed(provenance, inputs), overwrite=selection.overwrite)
    table = out / "slides.parquet"
    about_others = prepare_table(table, provenance, {slide.slide_id for slide in [*listed, *slides]}, inputs.folder)
    by_id = {slide.slide_id: slide for slide in slides}

    def record(result: Result) -> None:
        writer.add({**identity(by_id[result.item_id]), **result.row})
        on_result(result)

    with TableWriter(TILED_SLIDES, table, provenance) as writer, local_copies(resources.stage_dir) as copies:
        results = _run(slides, TileOneSlide(out, settings, inputs.masks, copies, network), resources, record)
    return Summary(out, tuple(results), _facts(results) | _with_mask(slides, inputs.masks) | about_others)


def _claimed(provenance: Provenance, inputs: TileInputs) -> Provenance:
    """Return what a rerun is compared with: the settings, and whether masks are given."""
    return replace(provenance, settings={**provenance.settings, "masks": inputs.masks is not None})


def _facts(results: Sequence[Result]) -> dict[str, Any]:
    rows = {result.item_id: result.row for result in results if result.outcome is not Outcome.BUSY}
    facts: dict[str, Any] = {"tiles": sum(row.get("n_tiles") or 0 for row in rows.values())}
    if conflicts := {name: row["mpp_conflict"] for name, row in rows.items() if row.get("mpp_conflict")}:
        facts["conflicts_of_mpp"] = conflicts
    if edited := {result.item_id: result.note for result in results if result.note}:
        facts["edited_outlines"] = edited
    return facts


def _run(
    slides: Sequence[CohortSlide], work: TileOneSlide, resources: TileResources, on_result: OnResult
) -> list[Result]:
    if resources.ray is None:
        ahead = CopiesAhead(work.copies, work.is_current) if work.copies.folder else None
        return run_batch(slides, work, workers=resources.workers, folder=work.out, ahead=ahead, on_result=on_result)
    work = work.with_absolute_paths()
    slides = [replace(slide, path=slide.path.absolute() if slide.path else None) for slide in slides]
    return run_with(OnRay(resources.ray, work), slides, folder=work.out, on_result=on_result)


def plan(
    inputs: TileInputs, out: Path, settings: TileSettings, *, selection: Selection = EVERYTHING
) -> dict[str, int | float]:
    """Return what `tile` would do, without opening a slide and without writing.

    Raises
    ------
    FiveError
        As `tile` does before it opens a slide.
    """
    selection.require_only(MADE_BY, *SELECTS)
    slides = inputs.selected(inputs.read(), out, selection)
    refuse_other_settings(out, MADE_BY, _claimed(Provenance.of(settings), inputs), overwrite=selection.overwrite)
    weights = inputs.tissue_weights
    network = Network(weights, file_fingerprint(weights)) if weights else None
    work = TileOneSlide(out, settings, inputs.masks, network=network)
    usable = [slide for slide in slides if slide.problem is None]
    present = [slide for slide in usable if slide.path is not None and slide.path.is_file()]
    todo = [slide for slide in present if not work.is_current(slide)]
    return {
        "slides": len(slides),
        "without_file": len(usable) - len(present),
        **({"with_unusable_name": len(slides) - len(usable)} if len(usable) < len(slides) else {}),
        "current": len(present) - len(todo),
        "to_do": len(todo),
        "gigabytes_to_do": round(sum(_size(slide.path) for slide in todo if slide.path) / 1e9, 3),
    } | _with_mask(slides, inputs.masks)


def _network(settings: TileSettings, weights: Path | None, device: str) -> Network | None:
    """Return the network that ``settings`` name, if any. Its weights are checked before a slide is read."""
    name = settings.tissue_method
    if (name in NETWORK_METHODS) != (weights is not None):
        raise SettingsError(
            f"--tissue-method {name} {'needs weights' if weights is None else 'takes no weights'}",
            hint="pass --tissue-weights FILE" if weights is None else "leave out --tissue-weights",
        )
    if weights is None:
        return None
    from pipelines.core.devices import pick_device
    from pipelines.slides.tissue_networks import load_tissue_network

    network = Network(weights, file_fingerprint(weights), pick_device(device))
    load_tissue_network(name, weights, network.device)
    return network


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in slide_files(path))


def _with_mask(slides: Sequence[CohortSlide], masks: Path | None) -> dict[str, int]:
    """Return how many slides have a mask, so that a folder with other file names is noticed."""
    if masks is None:
        return {}
    return {"slides_with_mask": sum(find_mask(masks, slide.slide_id) is not None for slide in slides)}
