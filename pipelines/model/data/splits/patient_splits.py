"""Split patients into train, validation and test.

All slides of a patient are in the same split. Random splits are stratified by label. They depend
only on the seed and the patient ids, not on the order of the rows. If the slides of a patient have
different labels, the patient's stratum is the most frequent one (the first in alphabetical order if
tied), and each slide keeps its own label. Patients without a label form their own stratum.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.settings import require
from pipelines.model.data.splits.folds import assign_folds
from pipelines.model.data.splits.site_splits import draw_sites, site_folds, site_groups

SPLIT_NAMES = ("train", "val", "test")
SPLIT_ALIASES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Accepted name of a split, in lower case -> our name."""


def make_splits(
    slides: Sequence[CohortSlide],
    *,
    folds: int | None,
    fold: int | None,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    keep_sites: bool = True,
) -> list[dict[str, Any]]:
    """Return one row of the `SPLITS` table per slide, in the order of ``slides``.

    If the cohort has a ``split`` column, it is used unchanged. Otherwise the test patients are
    those of fold ``fold`` or, without folds, a random share of ``test_fraction``. Validation
    patients are drawn from the patients outside the test split.

    Parameters
    ----------
    folds, fold
        Number of cross-validation folds, and the fold to test (from 0). The assignment of
        patients to folds does not depend on ``fold``.
    val_fraction
        Share of the patients outside the test split that are used for validation, 0 to 1 (1
        excluded). Ignored if the cohort's split column has validation slides.
    test_fraction
        Share of all patients that are tested, 0 to 1 (1 excluded). Ignored with ``folds``.
    keep_sites
        If the cohort names sites, draw whole sites, so that no site is in two splits.

    Raises
    ------
    CohortError
        A patient is in two splits, a slide's split is unknown or missing, a requested split
        would be empty, or only one of several classes is left for training.
    SettingsError
        A fraction or fold is out of range, or folds are requested for a cohort with a split
        column.
    """
    _check_settings(folds, fold, val_fraction, test_fraction)
    strata = _patient_strata(slides)
    sites = site_groups(slides) if keep_sites and any(slide.site for slide in slides) else None
    fold_of: Mapping[str, int] = {}
    if any(slide.split for slide in slides):
        require(
            folds is None,
            f"folds: {folds} requested, but the cohort has a split column",
            hint="leave out the folds, or remove the split column from the cohort table",
        )
        split_of = _splits_of_column(slides)
    else:
        if folds is not None:
            fold_of = site_folds(strata, sites, folds, seed) if sites else _stratified_folds(strata, folds, seed)
            tested = [patient for patient in fold_of if fold_of[patient] == fold]
        else:
            tested = _draw_patients(strata, sites, test_fraction, [seed, 0], "test")
        split_of = {patient: "train" for patient in strata} | {patient: "test" for patient in tested}
    if "val" not in split_of.values():
        training = {patient: strata[patient] for patient in strata if split_of.get(patient) == "train"}
        validating = _draw_patients(training, sites, val_fraction, [seed, 1, fold or 0], "val")
        split_of.update(dict.fromkeys(validating, "val"))
    rows = split_rows(slides, split_of, fold_of)
    _check_rows(rows)
    return rows


def _draw_patients(
    strata: Mapping[str, str], sites: Mapping[str, str] | None, fraction: float, seed: Sequence[int], split: str
) -> list[str]:
    """Draw a stratified share of the patients; with ``sites``, all patients of the drawn sites."""
    rng = np.random.default_rng(seed)
    if sites is None:
        return _draw_stratified(strata, fraction, rng, split)
    return draw_sites(strata, sites, fraction, int(rng.integers(2**31)), split)


def _patient_strata(slides: Sequence[CohortSlide]) -> dict[str, str]:
    """Return patient -> label used for stratification, sorted by patient; '' without a label."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for slide in slides:
        labels[slide.patient].update([slide.label] if slide.label else [])
    return {
        patient: min(labels[patient], key=lambda label: (-labels[patient][label], label), default="")
        for patient in sorted(labels)
    }


def _check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Check that no patient is in two splits and that training has slides of more than one class.

    Raises
    ------
    CohortError
        A check fails; the message names the patient or the class.
    """
    seen: dict[str, str] = {}
    for row in rows:
        earlier = seen.setdefault(row["patient_id"], row["split"])
        if earlier != row["split"]:
            raise CohortError(
                f"patient {row['patient_id']!r} is in two splits: {earlier} and {row['split']}",
                hint="give all slides of a patient the same split",
            )
    if "train" not in seen.values():
        raise CohortError("no slide is left for training", hint="make the test split smaller, or add patients")
    classes = {row["label"] for row in rows if row["label"]}
    train_classes = {row["label"] for row in rows if row["label"] and row["split"] == "train"}
    if len(classes) > 1 and len(train_classes) == 1:
        raise CohortError(
            f"every labeled training slide is of class {train_classes.pop()!r}; the cohort has {len(classes)} classes",
            hint="add patients of the other classes, or use fewer folds or a smaller test split",
        )


def _check_settings(folds: int | None, fold: int | None, val_fraction: float, test_fraction: float) -> None:
    require(0 <= val_fraction < 1, f"val_fraction: {val_fraction} is not in 0..1 (1 excluded)")
    require(0 <= test_fraction < 1, f"test_fraction: {test_fraction} is not in 0..1 (1 excluded)")
    require(folds is None or folds >= 2, f"folds: {folds} is less than 2")
    require(
        (folds is None) == (fold is None),
        f"folds: {folds} and fold: {fold}: set both or neither",
        hint="for example folds 5 and fold 0",
    )
    if folds is not None and fold is not None:
        require(0 <= fold < folds, f"fold: {fold} is not in 0..{folds - 1}")


def _splits_of_column(slides: Sequence[CohortSlide]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for slide in slides:
        split = SPLIT_ALIASES.get((slide.split or "").lower())
        if split is None:
            raise CohortError(
                f"slide {slide.slide_id!r}: split {slide.split!r} is not one of {', '.join(SPLIT_NAMES)}",
                hint="fill the cohort's split column for every slide, or remove the column",
            )
        if split_of.setdefault(slide.patient, split) != split:
            raise CohortError(
                f"patient {slide.patient!r} is in two splits: {split_of[slide.patient]} and {split}",
                hint="give all slides of a patient the same split",
            )
    return split_of


def _stratified_folds(strata: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    from sklearn.model_selection import StratifiedKFold

    patients, labels = list(strata), list(strata.values())
    largest = max(Counter(labels).values(), default=0)
    if largest < folds:
        raise CohortError(
            f"cannot make {folds} folds of {len(patients)} patients: the largest class has only {largest} patients",
            hint="use fewer folds, or add patients",
        )
    return assign_folds(StratifiedKFold(folds, shuffle=True, random_state=seed), patients, labels, None)


def _draw_stratified(strata: Mapping[str, str], fraction: float, rng: np.random.Generator, split: str) -> list[str]:
    """Draw a stratified share of the patients, but never a whole stratum.

    Each stratum gives its proportional number, rounded down. The rest comes from the strata with
    the largest remainders. (scikit-learn's stratified split refuses classes with one patient, and
    splits smaller than the number of classes.)
    """
    members: dict[str, list[str]] = defaultdict(list)
    for patient in sorted(strata):
        members[strata[patient]].append(patient)
    total = max(1, round(fraction * len(strata))) if fraction else 0
    quota = {label: fraction * len(members[label]) for label in sorted(members)}
    taken = {label: int(share) for label, share in quota.items()}
    for label in sorted(quota, key=lambda label: taken[label] - quota[label]):
        if sum(taken.values()) < total and taken[label] + 1 < len(members[label]):
            taken[label] += 1
    if fraction and not any(taken.values()):
        raise CohortError(
            f"the {split} split would be empty: each class needs a training patient, and only {len(strata)} are left",
            hint=f"add patients, or set the fraction of the {split} split to 0",
        )
    return [str(patient) for label in sorted(members) for patient in rng.permutation(members[label])[: taken[label]]]


def split_rows(
    slides: Sequence[CohortSlide], split_of: Mapping[str, str], fold_of: Mapping[str, int | None]
) -> list[dict[str, Any]]:
    """Return rows of the `SPLITS` table for ``slides``, given patient -> split and patient -> fold (if any)."""
    return [
        {
            "slide_id": slide.slide_id,
            "patient_id": slide.patient,
            "label": slide.label,
            "fold": fold_of.get(slide.patient),
            "split": split_of[slide.patient],
        }
        for slide in slides
    ]
