"""Refuse settings and columns that a run would ignore, because its splits come from somewhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.settings import require
from pipelines.core.settings.train import DataSettings, TrainSettings
from pipelines.model.data.splits.known_slides import KnownSlides
from pipelines.model.data.splits.patient_splits import SPLIT_ALIASES


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
    settings: TrainSettings, names: Sequence[str], source: str, earlier: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Check that settings of the splits that ``source`` makes useless are not given.

    A setting counts as given if it differs from its default and from the setting of an ``earlier`` run.

    Raises
    ------
    SettingsError
        A setting is given that is not used.
    """
    for name in names:
        value = getattr(settings, name)
        flag = f"no_{name}" if value is False else name
        require(
            value in (getattr(DataSettings, name), earlier.get(name)),
            f"{flag}: not used, because the splits come from {source}",
            hint=f"leave out --{flag.replace('_', '-')}",
        )


def refuse_ignored_fractions(slides: Sequence[CohortSlide], settings: TrainSettings, source: str) -> None:
    """Check the fractions for ``slides`` that have splits: ``val_fraction`` is used if no slide is in validation.

    Raises
    ------
    SettingsError
        A fraction is given that is not used.
    """
    refuse_ignored(settings, ["test_fraction"], source)
    if _has_validation(slides):
        refuse_ignored(settings, ["val_fraction"], f"{source}, which has validation slides")


def refuse_other_column(slides: Sequence[CohortSlide], known: KnownSlides) -> None:
    """Check that the split column of the cohort does not contradict the splits of a run.

    If the column has no validation slides, they were drawn from its training slides.

    Raises
    ------
    CohortError
        A slide has another split in the column.
    """
    uses = known.match(slides, refuse_conflicts=False).uses
    split_of = {slide_id: use.split for slide_id, use in uses.items()}
    same = {} if _has_validation(slides) else {"val": "train"}
    differ = [
        slide
        for slide in slides
        if slide.split and slide.slide_id in split_of
        if _split(slide) not in (split_of[slide.slide_id], same.get(split_of[slide.slide_id]))
    ]
    if differ:
        slide = differ[0]
        raise CohortError(
            f"{len(differ)} slides have other splits in {known.path} than in the split column of the cohort: "
            f"{slide.slide_id!r} is in {split_of[slide.slide_id]}, not in {slide.split}",
            hint="remove the column split from the cohort table to use the splits of --init, or train without --init",
        )


def _has_validation(slides: Sequence[CohortSlide]) -> bool:
    """Return whether a slide has the split ``val``, in any accepted spelling."""
    return "val" in map(_split, slides)


def _split(slide: CohortSlide) -> str | None:
    return SPLIT_ALIASES.get((slide.split or "").lower())
