"""Get the splits of a run: from a file, from the run that it starts from, or newly drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.settings import require
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.splits.ignored_settings import refuse_ignored
from pipelines.model.data.splits.known_slides import KnownSlides
from pipelines.model.data.splits.patient_splits import make_splits, split_rows
from pipelines.model.data.splits.split_files import read_splits


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
        be ignored; see `refuse_ignored`.
    """
    refuse_ignored(slides, settings, given=given, init=init)
    if given is not None:
        if given.suffix != ".json":  # a STAMP file has several folds
            _refuse_folds(settings, given, folds=None, fold=None)
        rows = read_splits(
            given,
            slides,
            fold=settings.fold,
            val_fraction=settings.val_fraction,
            seed=settings.seed,
            keep_sites=settings.keep_sites,
        )
        if init is not None:
            _refuse_leak(rows, init)
        return rows
    if init is not None:
        return _splits_of_init(slides, init / "splits.parquet", settings)
    return make_splits(
        slides,
        folds=settings.folds,
        fold=settings.fold,
        val_fraction=settings.val_fraction,
        test_fraction=settings.test_fraction,
        seed=settings.seed,
        keep_sites=settings.keep_sites,
    )


def _splits_of_init(slides: Sequence[CohortSlide], path: Path, settings: TrainSettings) -> list[dict[str, Any]]:
    """Return rows for the slides that the run of ``path`` knows by slide id or patient, with its splits."""
    known = KnownSlides.of_run(path.parent)
    folds = {row["fold"] for row in known.rows} - {None}
    test_fold = next((row["fold"] for row in known.rows if row["split"] == "test"), None)
    _refuse_folds(settings, path, folds=len(folds) or None, fold=test_fold)
    uses = known.match(slides).uses
    slides = [slide for slide in slides if slide.slide_id in uses]
    rows = split_rows(
        slides,
        {slide.patient: uses[slide.slide_id].split for slide in slides},
        {slide.patient: uses[slide.slide_id].fold for slide in slides},
    )
    if not any(row["split"] == "train" for row in rows):
        raise CohortError(f"{path}: none of its training patients has features here")
    return rows


def _refuse_folds(settings: TrainSettings, path: Path, *, folds: int | None, fold: int | None) -> None:
    """Raise a `SettingsError` if the settings ask for a fold that ``path`` does not hold out."""
    require(
        (settings.folds, settings.fold) in ((None, None), (folds, fold)),
        f"fold {settings.fold} of {settings.folds} requested, but the splits come from {path}"
        + (f", fold {fold} of {folds}" if folds else ""),
        hint="leave out --folds and --fold",
    )


def _refuse_leak(rows: Sequence[Mapping[str, Any]], init: Path) -> None:
    """Raise a `CohortError` if a test patient was used to train or validate ``init`` or a run it started from."""
    tested = [CohortSlide(row["slide_id"], patient_id=row["patient_id"]) for row in rows if row["split"] == "test"]
    uses = KnownSlides.of_run(init).match(tested, refuse_conflicts=False).uses
    leaked = sorted({s.patient for s in tested if s.slide_id in uses and uses[s.slide_id].split != "test"})
    if leaked:
        raise CohortError(
            f"{len(leaked)} test patients, for example {leaked[0]!r}, were used to train {init}",
            hint="leave out --splits to use the splits of that run",
        )
