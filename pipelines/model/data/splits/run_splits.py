"""Get the splits of a run: from a file, from the run that it starts from, or newly drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.schemas import SPLITS
from pipelines.core.settings import require
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.splits.ignored_settings import (
    refuse_ignored,
    refuse_ignored_fractions,
    refuse_other_column,
    splits_source,
)
from pipelines.model.data.splits.known_slides import KnownSlides, Use
from pipelines.model.data.splits.patient_splits import make_splits, split_rows
from pipelines.model.data.splits.split_files import n_folds, read_splits, slides_in_file


def run_splits(
    slides: Sequence[CohortSlide], settings: TrainSettings, *, given: Path | None, init: Path | None
) -> list[dict[str, Any]]:
    """Return rows of the `SPLITS` table for ``slides``.

    Parameters
    ----------
    given
        Split file to use; see `read_splits` for the formats.
    init
        Folder of the run that training starts from. Its splits are used if no file is given.

    Raises
    ------
    CohortError
        The splits break a rule of `make_splits`, a test patient was in the training or validation split of
        ``init``, no training patient of ``init`` has features, or the split column of the cohort contradicts
        the splits of ``init``.
    SettingsError
        The settings ask for a fold other than the one that the file or ``init`` holds out, or a setting would
        be ignored.
    """
    source = splits_source(slides, settings, given=given, init=init)
    known = KnownSlides.of_run(init) if init is not None else None
    if given is not None:
        return _splits_of_file(slides, given, settings, source, known)
    if known is not None:
        return _splits_of_init(slides, known, settings, source)
    if any(slide.split for slide in slides):
        refuse_ignored_fractions(slides, settings, source)
    elif settings.folds is not None:
        refuse_ignored(settings, ["test_fraction"], source)
    return make_splits(
        slides,
        folds=settings.folds,
        fold=settings.fold,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.seed,
        keep_sites=settings.keep_sites,
    )


def _splits_of_file(
    slides: Sequence[CohortSlide], path: Path, settings: TrainSettings, source: str, known: KnownSlides | None
) -> list[dict[str, Any]]:
    """Return rows for the slides that a split file names; ``known`` are those of the run that training starts from."""
    if path.suffix == ".json" and settings.folds is not None:  # a STAMP file has several folds
        count = n_folds(path)
        require(
            settings.folds == count,
            f"folds: {settings.folds} requested, but {path} has {count} folds",
            hint="leave out --folds; --fold chooses a fold of the file",
        )
    refuse_ignored_fractions(slides_in_file(path, slides, fold=settings.fold), settings, source)
    if path.suffix != ".json":
        _refuse_folds(settings, path, folds=None, fold=None)
    rows = read_splits(
        path,
        slides,
        fold=settings.fold,
        val_fraction=settings.val_fraction,
        seed=settings.seed,
        keep_sites=settings.keep_sites,
    )
    if known is not None:
        _refuse_leak(rows, known)
    return rows


def _splits_of_init(
    slides: Sequence[CohortSlide], known: KnownSlides, settings: TrainSettings, source: str
) -> list[dict[str, Any]]:
    """Return rows for the slides that a run knows by slide id or patient, with its splits."""
    refuse_other_column(slides, known)
    earlier = SPLITS.provenance(known.path).settings
    refuse_ignored(settings, ["test_fraction", "val_fraction", "keep_sites"], source, earlier)
    folds = {row["fold"] for row in known.rows} - {None}
    test_fold = next((row["fold"] for row in known.rows if row["split"] == "test"), None)
    _refuse_folds(settings, known.path, folds=len(folds) or None, fold=test_fold)
    uses = known.match(slides).uses
    slides = [slide for slide in slides if slide.slide_id in uses]
    rows = split_rows(
        slides,
        {slide.patient: uses[slide.slide_id].split for slide in slides},
        {slide.patient: uses[slide.slide_id].fold for slide in slides},
    )
    if not any(row["split"] == "train" for row in rows):
        raise CohortError(f"{known.path}: none of its training patients has features here")
    return rows


def _refuse_folds(settings: TrainSettings, path: Path, *, folds: int | None, fold: int | None) -> None:
    """Raise a `SettingsError` if the settings ask for a fold that ``path`` does not hold out."""
    require(
        (settings.folds, settings.fold) in ((None, None), (folds, fold)),
        f"fold {settings.fold} of {settings.folds} requested, but the splits come from {path}"
        + (f", fold {fold} of {folds}" if folds else ""),
        hint="leave out --folds and --fold",
    )


def _refuse_leak(rows: Sequence[Mapping[str, Any]], known: KnownSlides) -> None:
    """Raise a `CohortError` if a test patient was used to train or validate a run or one that it started from."""
    tested = [row for row in rows if row["split"] == "test"]
    uses = known.match_rows(tested, refuse_conflicts=False).uses
    leaked = sorted({row["patient_id"] for row in tested if _is_seen(uses.get(row["slide_id"]))})
    if leaked:
        raise CohortError(
            f"{len(leaked)} test patients, for example {leaked[0]!r}, were used to train {known.run}",
            hint="leave out --splits to use the splits of that run",
        )


def _is_seen(use: Use | None) -> bool:
    return use is not None and use.split != "test"
