from collections import Counter
from itertools import product

import numpy as np
import pytest

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.model.data.splits import make_splits
from pipelines.model.data.splits.site_splits import draw_sites, site_folds, site_groups


def slides_of(rows):
    return [
        CohortSlide(f"s{number}", patient_id=patient, label=label, site=site)
        for number, (patient, label, site) in enumerate(rows)
    ]


def random_cohort(rng):
    """Return (patient, label, site) rows of 4 to 6 sites that differ in size and in the shares of two classes."""
    rows = []
    for site in range(int(rng.integers(4, 7))):
        share = rng.uniform(0.2, 0.8)
        for _ in range(int(rng.integers(2, 9))):
            rows.append((f"p{len(rows):02d}", "a" if rng.random() < share else "b", f"hospital {site}"))
    return rows


def imbalance(rows, fold_of, folds):
    """Return the sum of squared differences between the class counts of the folds and equal shares."""
    total = Counter(label for _, label, _ in rows)
    counts = Counter((fold_of[patient], label) for patient, label, _ in rows)
    return sum((counts[fold, label] - total[label] / folds) ** 2 for fold in range(folds) for label in total)


def all_assignments(rows, folds):
    """Return the imbalance of every assignment of whole sites to folds without an empty fold."""
    sites = sorted({site for _, _, site in rows})
    return [
        imbalance(rows, {patient: fold[sites.index(site)] for patient, _, site in rows}, folds)
        for fold in product(range(folds), repeat=len(sites))
        if len(set(fold)) == folds
    ]


@pytest.mark.parametrize("seed", range(12))
def test_folds_of_whole_sites_are_at_least_as_balanced_as_the_median_assignment(seed):
    rows = random_cohort(np.random.default_rng(seed))
    fold_of = site_folds({p: label for p, label, _ in rows}, {p: site for p, _, site in rows}, 3, seed)
    assert fold_of.keys() == {patient for patient, _, _ in rows}
    assert set(fold_of.values()) == {0, 1, 2}
    assert all(len({fold_of[p] for p, _, s in rows if s == site}) == 1 for _, _, site in rows)
    imbalances = sorted(all_assignments(rows, 3))
    assert imbalance(rows, fold_of, 3) <= imbalances[len(imbalances) // 2]


@pytest.mark.parametrize("seed", range(6))
def test_splits_hold_whole_sites_and_every_class_is_in_training(seed):
    rows = random_cohort(np.random.default_rng(100 + seed))
    made = make_splits(slides_of(rows), folds=None, fold=None, val_fraction=0.2, test_fraction=0.25, seed=seed)
    split = {row["patient_id"]: row["split"] for row in made}
    assert set(split.values()) == {"train", "val", "test"}
    for _, _, site in rows:
        assert len({split[patient] for patient, _, own in rows if own == site}) == 1
    assert {label for patient, label, _ in rows if split[patient] == "train"} == {"a", "b"}


def test_each_patient_is_tested_once_and_training_and_validation_share_no_site():
    rows = random_cohort(np.random.default_rng(0))
    runs = [
        make_splits(slides_of(rows), folds=3, fold=fold, val_fraction=0.3, test_fraction=0, seed=0) for fold in range(3)
    ]
    tested = [row["patient_id"] for made in runs for row in made if row["split"] == "test"]
    assert sorted(tested) == sorted(patient for patient, _, _ in rows)
    site_of = {patient: site for patient, _, site in rows}
    for made in runs:
        sites = {
            split: {site_of[row["patient_id"]] for row in made if row["split"] == split} for split in ("train", "val")
        }
        assert not sites["train"] & sites["val"]


def test_sites_that_share_a_patient_count_as_one():
    rows = [("p0", "a", "x"), ("p0", "a", "y"), ("p1", "b", "y"), ("p2", "a", "x"), ("p3", "b", "z")]
    groups = site_groups(slides_of(rows))
    assert groups["p0"] == groups["p1"] == groups["p2"] != groups["p3"]


def test_sites_can_be_split_if_keep_sites_is_off():
    rows = [(f"p{n}", "ab"[n % 2], "one site") for n in range(12)]
    made = make_splits(slides_of(rows), folds=3, fold=0, val_fraction=0.2, test_fraction=0, seed=0, keep_sites=False)
    assert Counter(row["split"] for row in made)["test"] == 4


def test_impossible_splits_of_whole_sites_are_refused_with_a_hint():
    rows = [(f"p{n}", "ab"[n % 2], f"site {n % 2}") for n in range(12)]
    with pytest.raises(CohortError, match="cannot make 3 splits of whole sites: there are only 2 sites") as caught:
        make_splits(slides_of(rows), folds=3, fold=0, val_fraction=0.2, test_fraction=0, seed=0)
    assert "--no-keep-sites" in caught.value.hint
    with pytest.raises(CohortError, match="cannot draw whole sites for the test split"):
        draw_sites({p: label for p, label, _ in rows}, {p: site for p, _, site in rows}, 0.25, 0, "test")


def test_a_slide_without_a_site_is_named_if_others_have_one():
    with pytest.raises(CohortError, match="slide 's1' has no site"):
        site_groups(slides_of([("p0", "a", "x"), ("p1", "b", None)]))
