"""Splits that keep all patients of a site together.

Stain, scanner and patient mix differ between sites, so a model can appear to predict the class when
it recognizes the site. If a cohort names sites, whole sites are assigned to splits, stratified by
label as far as possible, with scikit-learn's greedy `StratifiedGroupKFold`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.model.data.splits.folds import assign_folds

HINT = "use fewer folds or another fraction, or --no-keep-sites to split by patient"


def site_groups(slides: Sequence[CohortSlide]) -> dict[str, str]:
    """Return patient -> name of its site; sites that share a patient are merged into one.

    Raises
    ------
    CohortError
        A slide has no site.
    """
    group: dict[str, str] = {}

    def root(name: str) -> str:  # of a disjoint-set forest of sites and patients
        while group.setdefault(name, name) != name:
            name = group[name]
        return name

    for slide in slides:
        if slide.site is None:
            raise CohortError(
                f"slide {slide.slide_id!r} has no site, but other slides have one",
                hint="fill the site column of the cohort table for every slide, or pass --no-keep-sites",
            )
        a, b = sorted((root(f"site {slide.site}"), root(f"patient {slide.patient}")), reverse=True)
        group[b] = a  # 'site ...' sorts after 'patient ...', so every root is a site
    return {slide.patient: root(f"patient {slide.patient}") for slide in slides}


def site_folds(strata: Mapping[str, str], sites: Mapping[str, str], folds: int, seed: int) -> dict[str, int]:
    """Return patient -> fold (from 0); a site is never split across folds, and no fold is empty.

    Parameters
    ----------
    strata
        Patient -> label.
    sites
        Patient -> site; may hold more patients than ``strata``.

    Raises
    ------
    CohortError
        There are fewer sites or patients than folds, or a fold would be empty.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    patients = sorted(strata)
    groups = [sites[patient] for patient in patients]
    n_sites = len(set(groups))
    if n_sites < folds:
        raise CohortError(f"cannot make {folds} splits of whole sites: there are only {n_sites} sites", hint=HINT)
    labels = [strata[patient] for patient in patients]
    largest = max(Counter(labels).values())
    if largest < folds:
        labels = [""] * len(patients)  # no class has a patient for every fold, so do not stratify
    if len(patients) < folds:
        raise CohortError(f"cannot make {folds} splits of {len(patients)} patients", hint=HINT)
    fold_of = assign_folds(StratifiedGroupKFold(folds, shuffle=True, random_state=seed), patients, labels, groups)
    if len(set(fold_of.values())) < folds:
        raise CohortError(f"cannot make {folds} splits of {n_sites} whole sites: one would be empty", hint=HINT)
    return fold_of


def draw_sites(
    strata: Mapping[str, str], sites: Mapping[str, str], fraction: float, seed: int, split: str
) -> list[str]:
    """Return the patients of whole sites: about ``fraction`` of each class, but never a whole class.

    The sites are assigned to about 1 / ``fraction`` folds. The fold whose class counts are closest to the
    requested ones is returned.

    Parameters
    ----------
    split
        Name of the split to draw, for the error message.

    Raises
    ------
    CohortError
        There is only one site, or every fold would remove a whole class from training.
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
    eligible = [fold for fold in counts if fold_of and all(counts[fold][label] < total[label] for label in total)]
    if not eligible:
        raise CohortError(
            f"cannot draw whole sites for the {split} split: a class would be missing from training", hint=HINT
        )
    best = min(eligible, key=lambda fold: sum((counts[fold][label] - fraction * total[label]) ** 2 for label in total))
    return [patient for patient, fold in fold_of.items() if fold == best]
