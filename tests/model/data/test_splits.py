from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError, SettingsError
from pipelines.model.data.splits import make_splits


def cohort(per_class, slides_each=1):
    """Return a cohort with ``per_class[label]`` patients, each with ``slides_each`` slides."""
    return [
        CohortSlide(f"{label}{number}-{slide}", patient_id=f"{label}{number}", label=label)
        for label, patients in per_class.items()
        for number in range(patients)
        for slide in range(slides_each)
    ]


def split(slides, **changes):
    defaults = {"folds": None, "fold": None, "val_fraction": 0.2, "test_fraction": 0.25, "seed": 0}
    return make_splits(slides, **(defaults | changes))


def patients_of(rows):
    """Return split -> the set of its patients."""
    patients = defaultdict(set)
    for row in rows:
        patients[row["split"]].add(row["patient_id"])
    return patients


cohorts = st.builds(cohort, st.dictionaries(st.sampled_from("ABCD"), st.integers(3, 17), min_size=2), st.integers(1, 3))


@given(slides=cohorts, folds=st.integers(2, 3), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_every_patient_is_tested_once_and_no_patient_is_in_two_splits(slides, folds, seed):
    tested = Counter()
    for fold in range(folds):
        parts = patients_of(split(slides, folds=folds, fold=fold, seed=seed))
        assert not parts["test"] & parts["val"]
        assert not parts["train"] & (parts["val"] | parts["test"])
        assert all(parts[name] for name in ("train", "val", "test"))
        tested.update(parts["test"])
    assert tested == Counter({slide.patient for slide in slides})


@given(slides=cohorts, folds=st.integers(2, 3), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_each_fold_holds_its_share_of_each_class_within_one_patient(slides, folds, seed):
    in_class, in_fold = defaultdict(set), defaultdict(set)
    for row in split(slides, folds=folds, fold=0, seed=seed):
        in_class[row["label"]].add(row["patient_id"])
        in_fold[row["label"], row["fold"]].add(row["patient_id"])
    for label, patients in in_class.items():
        for fold in range(folds):
            assert abs(len(in_fold[label, fold]) - len(patients) / folds) < 1


@given(slides=cohorts, fraction=st.floats(0.05, 0.6), seed=st.integers(0, 9))
@settings(max_examples=50, deadline=None)
def test_a_drawn_share_is_stratified_within_one_patient_and_leaves_patients_for_training(slides, fraction, seed):
    parts = patients_of(split(slides, test_fraction=fraction, val_fraction=0, seed=seed))
    by_class = Counter(patient[0] for patient in {slide.patient for slide in slides})
    tested = Counter(patient[0] for patient in parts["test"])
    trained = Counter(patient[0] for patient in parts["train"])
    for label, patients in by_class.items():
        assert abs(tested[label] - fraction * patients) < 1 + 1e-9
        assert trained[label] >= 1
    assert len(parts["test"]) == max(1, round(fraction * sum(by_class.values())))


@given(slides=cohorts, order=st.randoms(use_true_random=False), seed=st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_splits_do_not_depend_on_the_order_of_the_cohort_rows(slides, order, seed):
    shuffled = order.sample(slides, len(slides))
    for changes in ({"folds": 3, "fold": 1}, {}):
        original = {row["slide_id"]: row for row in split(slides, seed=seed, **changes)}
        reordered = {row["slide_id"]: row for row in split(shuffled, seed=seed, **changes)}
        assert original == reordered


def test_the_seed_decides_which_patients_are_tested():
    slides = cohort({"A": 20, "B": 20})
    first, again, other = (patients_of(split(slides, seed=seed))["test"] for seed in (0, 0, 1))
    assert first == again != other


def test_the_folds_do_not_depend_on_the_tested_fold():
    slides = cohort({"A": 7, "B": 8})
    folds = [[row["fold"] for row in split(slides, folds=3, fold=k, seed=4)] for k in range(3)]
    assert folds[0] == folds[1] == folds[2]


def test_the_fractions_of_the_paper_give_65_10_and_25_of_100_patients():
    parts = patients_of(split(cohort({"A": 50, "B": 50}), test_fraction=0.25, val_fraction=10 / 75))
    assert {name: len(patients) for name, patients in parts.items()} == {"train": 65, "val": 10, "test": 25}


def test_a_split_column_is_used_and_its_spellings_are_recognised():
    names = ["Train", "valid", "test"] * 2
    slides = [replace(slide, split=name) for slide, name in zip(cohort({"A": 3, "B": 3}), names, strict=True)]
    rows = split(slides)
    assert [row["split"] for row in rows] == ["train", "val", "test"] * 2
    assert {row["fold"] for row in rows} == {None}


def test_validation_is_drawn_from_training_if_the_split_column_has_none():
    slides = [
        replace(slide, split="test" if slide.patient in ("A0", "B0") else "train") for slide in cohort({"A": 6, "B": 6})
    ]
    parts = patients_of(split(slides, val_fraction=0.2))
    assert parts["test"] == {"A0", "B0"}
    assert sorted(patient[0] for patient in parts["val"]) == ["A", "B"]  # 20 % of ten


def test_a_patient_in_two_splits_is_refused_and_named():
    slides = [
        CohortSlide("s1", patient_id="P7", label="A", split="train"),
        CohortSlide("s2", patient_id="P7", label="A", split="test"),
    ]
    with pytest.raises(CohortError, match="'P7' is in two splits: train and test"):
        split(slides)


@pytest.mark.parametrize("name", ["holdout", None])
def test_an_unknown_or_missing_split_is_refused_and_the_slide_named(name):
    slides = [CohortSlide("s1", label="A", split="train"), CohortSlide("s2", label="B", split=name)]
    with pytest.raises(CohortError, match="'s2'"):
        split(slides)


def test_folds_with_a_split_column_are_refused():
    with pytest.raises(SettingsError, match="split column"):
        split([CohortSlide("s1", split="train")], folds=2, fold=0)


def test_training_on_one_of_two_classes_is_refused():
    slides = [
        CohortSlide("s1", label="A", split="train"),
        CohortSlide("s2", label="A", split="val"),
        CohortSlide("s3", label="B", split="test"),
    ]
    with pytest.raises(CohortError, match="every labeled training slide is of class 'A'"):
        split(slides)


def test_labeled_slides_may_be_tested_after_training_on_unlabeled_ones():
    slides = [
        CohortSlide("s1", split="train"),
        CohortSlide("s2", split="val"),
        CohortSlide("s3", label="A", split="test"),
        CohortSlide("s4", label="B", split="test"),
    ]
    assert [row["split"] for row in split(slides)] == ["train", "val", "test", "test"]


def test_a_cohort_without_labels_and_patients_is_split_by_slide():
    rows = split([CohortSlide(f"s{k}") for k in range(8)])
    assert Counter(row["split"] for row in rows) == {"train": 5, "val": 1, "test": 2}
    assert [row["patient_id"] for row in rows] == [f"s{k}" for k in range(8)]


def test_a_patient_with_different_labels_is_stratified_by_the_most_frequent_one():
    mostly_a = [
        CohortSlide(f"A{patient}-{slide}", patient_id=f"A{patient}", label="B" if slide == 0 else "A")
        for patient in range(5)
        for slide in range(3)
    ]
    for fold in range(5):
        rows = split(mostly_a + cohort({"B": 5}), folds=5, fold=fold, val_fraction=0)
        assert sorted(patient[0] for patient in patients_of(rows)["test"]) == ["A", "B"]
        assert [row["label"] for row in rows[:3]] == ["B", "A", "A"]


def test_a_class_with_fewer_patients_than_folds_gives_no_warning():
    rows = split(cohort({"A": 10, "B": 2}), folds=5, fold=0, val_fraction=0)
    assert len({row["fold"] for row in rows if row["label"] == "B"}) == 2


@pytest.mark.parametrize(
    ("per_class", "changes", "message"),
    [
        ({"A": 4, "B": 4}, {"folds": 5, "fold": 0}, "the largest class has only 4"),
        ({"A": 1, "B": 1}, {}, "the test split would be empty"),
        ({"A": 2, "B": 2}, {"test_fraction": 0.5}, "the val split would be empty"),
    ],
)
def test_too_few_patients_are_refused_with_a_hint(per_class, changes, message):
    with pytest.raises(CohortError, match=message) as error:
        split(cohort(per_class), **changes)
    assert error.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": 1, "fold": 0},
        {"folds": 5},
        {"fold": 0},
        {"folds": 3, "fold": 3},
        {"val_fraction": 1.0},
        {"test_fraction": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(SettingsError):
        split(cohort({"A": 5, "B": 5}), **changes)
