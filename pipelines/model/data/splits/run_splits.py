"""The splits of a run: from a file, from the run that it starts from, or made anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.schemas import SPLITS
from pipelines.core.settings import require
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.splits.patient_splits import make_splits, split_rows
from pipelines.model.data.splits.split_files import read_splits


def run_splits(
    slides: Sequence[CohortSlide], settings: TrainSettings, *, given: Path | None, init: Path | None
) -> list[dict[str, Any]]:
    """Return rows of SPLITS for ``slides``.

    Parameters
    ----------
    given
        A split file to be used again.
    init
        The run that training starts from: its splits are kept where no file is given.

    Raises
    ------
    CohortError
        The parts break a rule of `make_splits`, or a patient that ``init`` was trained with is held out.
    """
    if given is not None:
        if given.suffix != ".json":  # of STAMP, which holds several folds
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
    """Return the slides of the patients in ``path``, each in the split of its patient there."""
    taken = {row["patient_id"]: row for row in SPLITS.read_rows(path)}
    folds = {row["fold"] for row in taken.values()} - {None}
    tested = next((row["fold"] for row in taken.values() if row["split"] == "test"), None)
    _refuse_folds(settings, path, folds=len(folds) or None, fold=tested)
    rows = split_rows(
        [slide for slide in slides if slide.patient in taken],
        {patient: row["split"] for patient, row in taken.items()},
        {patient: row["fold"] for patient, row in taken.items()},
    )
    if not any(row["split"] == "train" for row in rows):
        raise CohortError(f"{path}: none of its training patients has features here")
    return rows


def _refuse_folds(settings: TrainSettings, path: Path, *, folds: int | None, fold: int | None) -> None:
    """Refuse to hold out another fold than ``path`` does, rather than to pass over what was asked for."""
    require(
        (settings.folds, settings.fold) in ((None, None), (folds, fold)),
        f"fold {settings.fold} of {settings.folds} asked for, but the parts are those of {path}"
        + (f", fold {fold} of {folds}" if folds else ""),
        hint="leave out --folds and --fold",
    )


def _refuse_leak(rows: Sequence[Mapping[str, Any]], init: Path) -> None:
    seen = {row["patient_id"] for row in SPLITS.read_rows(init / "splits.parquet") if row["split"] != "test"}
    leaked = sorted({row["patient_id"] for row in rows if row["split"] == "test"} & seen)
    if leaked:
        raise CohortError(
            f"patient {leaked[0]!r} ({len(leaked)} such) is held out here, but {init} was trained with it",
            hint="leave --splits out: the splits of the first run are then used",
        )
