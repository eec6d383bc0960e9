"""Patient-level splits: who trains, who chooses the epoch, who is only ever tested.

The unit is the patient, never the slide: all slides of a patient share one split. Random
splits are stratified by label and depend on the seed and the patient ids only, not on the
order of the rows. The stratum of a patient whose slides disagree is the label most of its
slides bear (of equals the first in the alphabet); each slide keeps its own label. Patients
without a label are a stratum of their own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.settings import require
from pipelines.model.data.splits.folds import deal
from pipelines.model.data.splits.site_splits import site_folds, site_groups, site_share

SPLIT_NAMES = ("train", "val", "test")
_ALIASES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


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
    """Return one row of the `SPLITS` table for each slide, in the order of ``slides``.

    A ``split`` column of the cohort is taken as it is. Otherwise, with ``folds``, the
    patients of fold ``fold`` are the test part; without, a share of ``test_fraction`` is.
    The validation part always comes out of the patients that are not tested.

    Parameters
    ----------
    folds, fold
        Number of cross-validation folds, and the one to test (from 0). The assignment of
        patients to folds is the same whichever ``fold`` is asked for.
    val_fraction
        Share of the patients outside the test part that validate; 0 for none. Not used where
        the cohort's column names a validation part.
    test_fraction
        Share of all patients that are tested; not used with ``folds``.
    keep_sites
        Where the cohort names sites, draw whole sites, so that each stands in one part.

    Raises
    ------
    CohortError
        A patient stands in two splits, a split is unknown or missing, a part that was asked
        for comes out empty, or only one of several classes is left for training.
    SettingsError
        A fraction or fold out of range, or folds asked for beside a split column.
    """
    _check_settings(folds, fold, val_fraction, test_fraction)
    strata = _patient_strata(slides)
    sites = site_groups(slides) if keep_sites and any(slide.site for slide in slides) else None
    fold_of: Mapping[str, int] = {}
    if any(slide.split for slide in slides):
        require(
            folds is None,
            f"folds: {folds} asked for, but the cohort has a split column",
            hint="leave out the folds, or take the split column out of the cohort",
        )
        split_of = _splits_of_column(slides)
    else:
        if folds is not None:
            fold_of = site_folds(strata, sites, folds, seed) if sites else _folds(strata, folds, seed)
            tested = [patient for patient in fold_of if fold_of[patient] == fold]
        else:
            tested = _drawn(strata, sites, test_fraction, [seed, 0], "test")
        split_of = {patient: "train" for patient in strata} | {patient: "test" for patient in tested}
    if "val" not in split_of.values():
        training = {patient: strata[patient] for patient in strata if split_of.get(patient) == "train"}
        validating = _drawn(training, sites, val_fraction, [seed, 1, fold or 0], "val")
        split_of.update(dict.fromkeys(validating, "val"))
    rows = split_rows(slides, split_of, fold_of)
    _check_rows(rows)
    return rows


def _drawn(
    strata: Mapping[str, str], sites: Mapping[str, str] | None, fraction: float, seed: Sequence[int], part: str
) -> list[str]:
    """Draw a stratified share of the patients, of whole sites where ``sites`` are given."""
    rng = np.random.default_rng(seed)
    if sites is None:
        return _share(strata, fraction, rng, part)
    return site_share(strata, sites, fraction, int(rng.integers(2**31)), part)


def _patient_strata(slides: Sequence[CohortSlide]) -> dict[str, str]:
    """Return patient -> label for stratification, sorted by patient; '' without a label."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for slide in slides:
        labels[slide.patient].update([slide.label] if slide.label else [])
    return {
        patient: min(labels[patient], key=lambda label: (-labels[patient][label], label), default="")
        for patient in sorted(labels)
    }


def _check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a patient in two splits, a run without training slides, and one-class training.

    Raises
    ------
    CohortError
        Naming the patient or the class, with a remedy.
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
        raise CohortError("no slide is left to train on", hint="make the test part smaller, or add patients")
    classes = {row["label"] for row in rows if row["label"]}
    trained = {row["label"] for row in rows if row["label"] and row["split"] == "train"}
    if len(classes) > 1 and len(trained) == 1:
        raise CohortError(
            f"every training slide with a label is {trained.pop()!r}, of {len(classes)} classes in the cohort",
            hint="add patients of the other classes, or use fewer folds or a smaller test part",
        )


def _check_settings(folds: int | None, fold: int | None, val_fraction: float, test_fraction: float) -> None:
    require(0 <= val_fraction < 1, f"val_fraction: {val_fraction} is not in 0..1 (1 excluded)")
    require(0 <= test_fraction < 1, f"test_fraction: {test_fraction} is not in 0..1 (1 excluded)")
    require(folds is None or folds >= 2, f"folds: {folds} is less than 2")
    require(
        (folds is None) == (fold is None),
        f"folds: {folds} and fold: {fold} go together",
        hint="for example folds 5 and fold 0",
    )
    if folds is not None and fold is not None:
        require(0 <= fold < folds, f"fold: {fold} is not in 0..{folds - 1}")


def _splits_of_column(slides: Sequence[CohortSlide]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for slide in slides:
        split = _ALIASES.get((slide.split or "").lower())
        if split is None:
            raise CohortError(
                f"slide {slide.slide_id!r}: split {slide.split!r} is not one of {', '.join(SPLIT_NAMES)}",
                hint="fill the cohort's split column for every slide, or take the column out",
            )
        if split_of.setdefault(slide.patient, split) != split:
            raise CohortError(
                f"patient {slide.patient!r} is in two splits: {split_of[slide.patient]} and {split}",
                hint="give all slides of a patient the same split",
            )
    return split_of


def _folds(strata: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    from sklearn.model_selection import StratifiedKFold

    patients, labels = list(strata), list(strata.values())
    common = max(Counter(labels).values(), default=0)
    if common < folds:
        raise CohortError(
            f"{folds} folds of {len(patients)} patients: the largest class has only {common} patients",
            hint="use fewer folds, or add patients",
        )
    return deal(StratifiedKFold(folds, shuffle=True, random_state=seed), patients, labels, None)


def _share(strata: Mapping[str, str], fraction: float, rng: np.random.Generator, part: str) -> list[str]:
    """Draw a stratified share of the patients, but never all of a stratum.

    Each stratum gives its proportional number rounded down; what is missing to the total
    comes from the strata with the largest remainders. (scikit-learn's stratified split
    refuses classes of one patient and parts smaller than the number of classes.)
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
            f"no patient can be spared for the {part} part: {len(strata)} left, at least one of each class must train",
            hint=f"add patients, or set the fraction of the {part} part to 0",
        )
    return [str(patient) for label in sorted(members) for patient in rng.permutation(members[label])[: taken[label]]]


def split_rows(
    slides: Sequence[CohortSlide], split_of: Mapping[str, str], fold_of: Mapping[str, int | None]
) -> list[dict[str, Any]]:
    """Return the rows of the `SPLITS` table of ``slides``, given the split and the fold (if any) of each patient."""
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
