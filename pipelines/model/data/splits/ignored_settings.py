"""Refuse settings and columns that a run would ignore, because its splits come from somewhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.schemas import SPLITS
from pipelines.core.settings import require
from pipelines.core.settings.train import DataSettings, TrainSettings
from pipelines.model.data.splits.known_slides import KnownSlides
from pipelines.model.data.splits.patient_splits import SPLIT_ALIASES
from pipelines.model.data.splits.split_files import n_folds, slides_in_file


def splits_source(
    slides: Sequence[CohortSlide], settings: TrainSettings, *, given: Path | None, init: Path | None
) -> str:
    """Return where the splits of a run come from, in words."""
    if given is not None:
        return f"{given} (--splits)"
    if init is not None:
        return f"{init} (--init)"
    if any(slide.split for slide in slides):
        return "the column split of the cohort"
    return "drawn at random" if settings.folds is None else f"fold {settings.fold} of {settings.folds}, drawn at random"


def refuse_ignored(
    slides: Sequence[CohortSlide], settings: TrainSettings, *, given: Path | None, init: Path | None
) -> None:
    """Check that no setting of the splits, and no split column of the cohort, would be ignored.

    A setting counts as given if it differs from its default.

    Raises
    ------
    SettingsError
        A setting is given that is not used. For a run of ``init``, it may repeat the setting of that run.
    CohortError
        The split column of the cohort contradicts the splits of ``init``.
    """
    source = splits_source(slides, settings, given=given, init=init)
    if given is not None:
        if given.suffix == ".json" and settings.folds is not None:
            count = n_folds(given)
            require(
                settings.folds == count,
                f"folds: {settings.folds} requested, but {given} has {count} folds",
                hint="leave out --folds; --fold chooses a fold of the file",
            )
        _refuse(settings, ["test_fraction"], source)
        _refuse_if_validated(slides_in_file(given, slides, fold=settings.fold), settings, source)
    elif init is not None:
        path = init / "splits.parquet"
        _refuse_other_column(slides, path)
        _refuse(settings, ["test_fraction", "val_fraction", "keep_sites"], source, SPLITS.provenance(path).settings)
    elif any(slide.split for slide in slides):
        _refuse(settings, ["test_fraction"], source)
        _refuse_if_validated(slides, settings, source)
    elif settings.folds is not None:
        _refuse(settings, ["test_fraction"], source)


def _refuse_if_validated(slides: Sequence[CohortSlide], settings: TrainSettings, source: str) -> None:
    """Refuse a given ``val_fraction`` if the source of the splits has validation slides."""
    if "val" in map(_split, slides):
        _refuse(settings, ["val_fraction"], f"{source}, which has validation slides")


def _refuse(settings: TrainSettings, names: Sequence[str], source: str, earlier: Mapping[str, Any] = {}) -> None:
    """Refuse settings that differ from their default and from the settings of an ``earlier`` run."""
    for name in names:
        value = getattr(settings, name)
        flag = f"no_{name}" if value is False else name
        require(
            value in (getattr(DataSettings, name), earlier.get(name)),
            f"{flag}: not used, because the splits come from {source}",
            hint=f"leave out --{flag.replace('_', '-')}",
        )


def _refuse_other_column(slides: Sequence[CohortSlide], path: Path) -> None:
    """Raise a `CohortError` if the split column of the cohort contradicts the splits in ``path``.

    If the column has no validation slides, they were drawn from its training slides.
    """
    uses = KnownSlides.of_run(path.parent).match(slides, refuse_conflicts=False).uses
    split_of = {slide_id: use.split for slide_id, use in uses.items()}
    same = {} if "val" in map(_split, slides) else {"val": "train"}
    differ = [
        slide
        for slide in slides
        if slide.split and slide.slide_id in split_of
        if _split(slide) not in (split_of[slide.slide_id], same.get(split_of[slide.slide_id]))
    ]
    if differ:
        slide = differ[0]
        raise CohortError(
            f"{len(differ)} slides have other splits in {path} than in the split column of the cohort: "
            f"{slide.slide_id!r} is in {split_of[slide.slide_id]}, not in {slide.split}",
            hint="remove the column split from the cohort table to use the splits of --init, or train without --init",
        )


def _split(slide: CohortSlide) -> str | None:
    return SPLIT_ALIASES.get((slide.split or "").lower())
