from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.model.data.splits import KnownSlides, recorded_rows

SPLITS = {"train", "val", "test"}


def run_of(*rows, name="first"):
    """Return what a run knows, from ``(slide, patient, split)``; it learned from its training slides."""
    return KnownSlides(
        Path(name),
        [
            {"slide_id": slide, "patient_id": patient, "label": None, "fold": None, "split": split}
            | {"learned_from": split == "train", "carried_from": None}
            for slide, patient, split in rows
        ],
    )


def table(*rows):
    return [CohortSlide(slide, patient_id=patient) for slide, patient in rows]


RUN = run_of(("s1", "p1", "train"), ("s2", "p2", "test"), ("s3", "p3", "val"), ("s4", "p1", "train"))


@pytest.mark.parametrize(
    ("rows", "splits", "counts"),
    [
        ([("s1", "p1"), ("s2", "p2")], {"s1": "train", "s2": "test"}, (2, 0, 0)),
        ([("s1", "X"), ("s2", "Y")], {"s1": "train", "s2": "test"}, (2, 0, 0)),  # patients have other names
        ([("s1", None), ("s2", None)], {"s1": "train", "s2": "test"}, (2, 0, 0)),  # no patient column
        ([("new", "p1")], {"new": "train"}, (0, 1, 0)),  # a new slide of a patient of the run
        ([("s1", "X"), ("new", "X")], {"s1": "train", "new": "train"}, (1, 1, 0)),  # of a renamed patient
        ([("new", "X"), ("s1", "X")], {"s1": "train", "new": "train"}, (1, 1, 0)),  # in another order
        ([("new", "X"), ("other", None)], {}, (0, 0, 2)),
        ([("p1", None)], {}, (0, 0, 1)),  # a slide id that is the name of a patient
        ([("s1", "X"), ("s4", "Y")], {"s1": "train", "s4": "train"}, (2, 0, 0)),
    ],
)
def test_slides_are_looked_up_by_slide_and_patient(rows, splits, counts):
    found = RUN.match(table(*rows))
    assert {slide: use.split for slide, use in found.uses.items()} == splits
    assert tuple(found.counts.values()) == counts
    assert all(use.learned_from == (use.split == "train") for use in found.uses.values())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("s1", "X"), ("s2", "X")], "patient 'X' has slides in two splits: 's1' in train, 's2' in test"),
        ([("s2", "p1")], "slide 's2' is in test, but its patient 'p1' in train"),
        ([("new", "p2"), ("s1", "p2")], "patient 'p2' has slides in two splits: 'new' in test, 's1' in train"),
        ([("s2", "X"), ("s3", "X")], "'s2' in test, 's3' in val"),
    ],
)
def test_a_table_that_contradicts_the_splits_of_the_run_is_refused(rows, message):
    with pytest.raises(CohortError, match=message) as caught:
        RUN.match(table(*rows))
    assert "train again" in caught.value.hint


@given(
    st.lists(st.sampled_from(["train", "val", "test"]), min_size=1, max_size=8),
    st.lists(
        st.tuples(st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12))), max_size=12, unique_by=lambda r: r[0]
    ),
)
def test_no_slide_or_patient_of_the_training_part_is_ever_new_or_tested(splits, rows):
    """Numbers below ``len(splits)`` are slides and patients of the run."""
    run = run_of(*((f"s{k}", f"p{k}", split) for k, split in enumerate(splits)))
    slides = table(*((f"s{s}", None if p is None else f"p{p}") for s, p in rows))
    try:
        uses = run.match(slides).uses
    except CohortError:
        uses = None
    of_number = dict(enumerate(splits))
    by_patient = {}
    for slide, (s, p) in zip(slides, rows, strict=True):
        by_patient.setdefault(slide.patient, set()).update({of_number.get(s), of_number.get(p)} - {None})
    if uses is None:
        assert any(len(found) > 1 for found in by_patient.values())
    else:
        for slide in slides:
            split = uses[slide.slide_id].split if slide.slide_id in uses else None
            assert {split} - {None} == by_patient[slide.patient]


def own(*rows):
    return [{key: row[key] for key in ("slide_id", "patient_id", "split", "fold")} for row in run_of(*rows).rows]


def recorded(rows):
    return {
        (row["slide_id"], row["patient_id"]): (row["split"], row["learned_from"], row["carried_from"]) for row in rows
    }


def test_a_run_carries_the_slides_of_all_its_ancestors():
    first = RUN.rows
    second = recorded_rows(own(("s5", "p5", "train")), {"s5"}, RUN)
    third = recorded_rows(own(("s6", "p6", "val")), {}, KnownSlides(Path("second"), second))
    assert recorded(third) == {
        ("s6", "p6"): ("val", False, None),
        ("s5", "p5"): ("train", True, "second"),
        **{(row["slide_id"], row["patient_id"]): (row["split"], row["learned_from"], "first") for row in first},
    }
    assert KnownSlides(Path("third"), third).match(table(("new", "p1"), ("s4", "X"))).uses.keys() == {"new", "s4"}


def test_a_slide_that_an_ancestor_learned_from_stays_learned_from():
    rows = recorded_rows(own(("s1", "p1", "val"), ("new", "p1", "val")), {}, RUN)
    assert recorded(rows)["s1", "p1"] == ("val", True, None)
    assert recorded(rows)["new", "p1"] == ("val", True, None)
    assert recorded(rows)["s4", "p1"] == ("val", True, "first")  # the other slide of the patient follows


def test_the_earlier_name_of_a_renamed_patient_is_kept():
    rows = recorded_rows(own(("s3", "X", "train")), {"s3"}, RUN)
    run = KnownSlides(Path("second"), rows)
    assert run.match(table(("new", "p3"))).uses["new"].split == "train"
    assert run.match(table(("new", "X"))).uses["new"].split == "train"


def test_a_patient_of_an_ancestor_in_two_new_splits_is_refused():
    with pytest.raises(CohortError, match="two splits: 's1' in train, 's4' in val"):
        recorded_rows(own(("s1", "X", "train"), ("s4", "Y", "val")), {}, RUN)
