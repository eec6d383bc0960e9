"""Splits in which all patients of a site stand in one part.

Stain, scanner and referral differ between sites, and a model that learns the site can seem to know
the class. Where a cohort names sites, whole sites are dealt out, stratified by label as well as that
allows: scikit-learn's greedy `StratifiedGroupKFold`, largest imbalance first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.model.data.splits.folds import deal

REMEDY = "use fewer folds or another fraction, or --no-keep-sites to split by patient"


def site_groups(slides: Sequence[CohortSlide]) -> dict[str, str]:
    """Return patient -> a name of its site; sites that share a patient count as one.

    Raises
    ------
    CohortError
        Some slides have a site and others have none.
    """
    group: dict[str, str] = {}

    def root(name: str) -> str:
        while group.setdefault(name, name) != name:
            name = group[name]
        return name

    for slide in slides:
        if slide.site is None:
            raise CohortError(
                f"slide {slide.slide_id!r} has no site, though others have",
                hint="fill the cohort's site column for every slide, or use --no-keep-sites",
            )
        a, b = sorted((root(f"site {slide.site}"), root(f"patient {slide.patient}")), reverse=True)
        group[b] = a  # 'site ...' sorts after 'patient ...', so that roots are sites
    return {slide.patient: root(f"patient {slide.patient}") for slide in slides}


def site_folds(strata: Mapping[str, str], sites: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    """Return patient -> fold, from 0, the patients of a site in one fold and none empty.

    Parameters
    ----------
    strata
        Patient -> label.
    sites
        Patient -> site; more patients than ``strata`` has may be named.

    Raises
    ------
    CohortError
        There are fewer sites than folds, or whole sites cannot fill every fold.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    patients = sorted(strata)
    groups = [sites[patient] for patient in patients]
    n_sites = len(set(groups))
    if n_sites < folds:
        raise CohortError(f"{folds} parts of whole sites: there are only {n_sites} sites", hint=REMEDY)
    labels = [strata[patient] for patient in patients]
    common = max(Counter(labels).values())
    if common < folds:
        labels = [""] * len(patients)  # no class is large enough to be dealt out evenly
    if len(patients) < folds:
        raise CohortError(f"{folds} parts of {len(patients)} patients", hint=REMEDY)
    fold_of = deal(StratifiedGroupKFold(folds, shuffle=True, random_state=seed), patients, labels, groups)
    if len(set(fold_of.values())) < folds:
        raise CohortError(f"{folds} parts of {n_sites} whole sites: some would be empty", hint=REMEDY)
    return fold_of


def site_share(strata: Mapping[str, str], sites: Mapping[str, str], fraction: float, seed: int, part: str) -> list[str]:
    """Return patients of whole sites, about ``fraction`` of all and of each class; never all of a class.

    The patients are dealt into about 1 / ``fraction`` folds, and the fold is taken whose numbers of each class
    come nearest to what was asked for.

    Raises
    ------
    CohortError
        No whole site can be spared.
    """
    if not fraction:
        return []
    n_sites = len({sites[patient] for patient in strata})
    folds = max(2, min(n_sites, round(1 / fraction)))
    fold_of = site_folds(strata, sites, folds, seed) if n_sites > 1 else {}
    total = Counter(strata.values())
    counts = {
        fold: Counter(strata[patient] for patient in fold_of if fold_of[patient] == fold) for fold in range(folds)
    }
    spared = [fold for fold in counts if fold_of and all(counts[fold][label] < total[label] for label in total)]
    if not spared:
        raise CohortError(
            f"no whole site can be spared for the {part} part: each class must stay in training", hint=REMEDY
        )
    best = min(spared, key=lambda fold: sum((counts[fold][label] - fraction * total[label]) ** 2 for label in total))
    return [patient for patient, fold in fold_of.items() if fold == best]
