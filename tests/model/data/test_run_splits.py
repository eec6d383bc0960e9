import json
from dataclasses import replace

import pytest

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError, SettingsError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import SPLITS
from pipelines.core.settings import TrainSettings
from pipelines.model.data.splits import run_splits
from pipelines.model.data.splits.ignored_settings import splits_source
from tests.run_manifests import mark_complete

SLIDES = [CohortSlide(f"s{k}", patient_id=f"p{k}", label="AB"[k % 2]) for k in range(20)]


@pytest.fixture
def first_run(tmp_path):
    """Return the folder of a run that held out fold 1 of 4."""
    rows = run_splits(SLIDES, TrainSettings(folds=4, fold=1), given=None, init=None)
    SPLITS.write(tmp_path / "splits.parquet", rows, Provenance({}))
    return mark_complete(tmp_path)


def splits_of(rows):
    return {row["slide_id"]: row["split"] for row in rows}


def test_the_fold_of_the_initial_run_may_be_repeated_in_the_settings(first_run):
    without_fold = run_splits(SLIDES, TrainSettings(), given=None, init=first_run)
    with_fold = run_splits(SLIDES, TrainSettings(folds=4, fold=1), given=None, init=first_run)
    assert splits_of(with_fold) == splits_of(without_fold)


@pytest.mark.parametrize("requested", [{"folds": 4, "fold": 2}, {"folds": 5, "fold": 1}])
def test_a_fold_other_than_that_of_the_initial_run_is_refused(first_run, requested):
    with pytest.raises(SettingsError, match=r"fold . of . requested, but .* fold 1 of 4"):
        run_splits(SLIDES, TrainSettings(**requested), given=None, init=first_run)


def test_folds_with_a_file_of_one_split_are_refused(first_run):
    with pytest.raises(SettingsError, match="fold 2 of 4 requested"):
        run_splits(SLIDES, TrainSettings(folds=4, fold=2), given=first_run / "splits.parquet", init=None)


@pytest.fixture
def second_source(tmp_path):
    """Return name -> cohort and arguments of `run_splits`, for all sources of splits other than a random draw."""
    splits = ["test", "train", "train", "val"]
    column = [replace(slide, split=splits[k % 4]) for k, slide in enumerate(SLIDES)]
    without_val = [replace(slide, split=slide.split.replace("val", "train")) for slide in column]
    rows = run_splits(SLIDES, TrainSettings(), given=None, init=None)
    SPLITS.write(tmp_path / "run" / "splits.parquet", rows, Provenance(TrainSettings().as_dict()))
    mark_complete(tmp_path / "run")
    fold = {"train_patients": [f"p{k}" for k in range(4, 20)], "test_patients": [f"p{k}" for k in range(4)]}
    (tmp_path / "stamp.json").write_text(json.dumps({"splits": [fold, fold, fold]}))
    none = {"given": None, "init": None}
    return {
        "column": (column, none),
        "column without val": (without_val, none),
        "file": (SLIDES, {"given": tmp_path / "run" / "splits.parquet", "init": None}),
        "stamp": (SLIDES, {"given": tmp_path / "stamp.json", "init": None}),
        "init": (SLIDES, {"given": None, "init": tmp_path / "run"}),
        "folds": (SLIDES, none),
    }


BASE = {"stamp": {"fold": 0}, "folds": {"folds": 5, "fold": 0}}
"""Settings that a source needs."""


@pytest.mark.parametrize(
    ("source", "settings", "flag"),
    [(source, {"test_fraction": 0.1}, "--test-fraction") for source in ("column", "file", "stamp", "init", "folds")]
    + [("column without val", {"test_fraction": 0.1}, "--test-fraction")]
    + [(source, {"val_fraction": 0.1}, "--val-fraction") for source in ("column", "file", "init")]
    + [(source, {"folds": 5, "fold": 0}, "folds") for source in ("column", "column without val", "file", "stamp")]
    + [("init", {"folds": 5, "fold": 0}, "--folds"), ("init", {"keep_sites": False}, "--no-keep-sites")],
)
def test_a_setting_that_is_given_and_not_used_is_refused(second_source, source, settings, flag):
    slides, where = second_source[source]
    run_splits(slides, TrainSettings(**BASE.get(source, {})), **where)
    with pytest.raises(SettingsError) as caught:
        run_splits(slides, TrainSettings(**{**BASE.get(source, {}), **settings}), **where)
    assert flag in caught.value.hint


@pytest.mark.parametrize("source", ["column without val", "stamp", "folds"])
def test_the_fraction_of_validation_patients_is_used_if_the_source_has_none(second_source, source):
    slides, where = second_source[source]
    settings = TrainSettings(**BASE.get(source, {}), val_fraction=0.5)
    rows = run_splits(slides, settings, **where)
    assert sum(row["split"] == "val" for row in rows) > 4


def test_the_number_of_folds_of_a_stamp_file_may_be_given(second_source):
    slides, where = second_source["stamp"]
    run_splits(slides, TrainSettings(folds=3, fold=0), **where)


def test_settings_of_the_initial_run_may_be_repeated(tmp_path):
    settings = TrainSettings(test_fraction=0.3, val_fraction=0.2, keep_sites=False)
    rows = run_splits(SLIDES, settings, given=None, init=None)
    SPLITS.write(tmp_path / "splits.parquet", rows, Provenance(settings.as_dict()))
    mark_complete(tmp_path)
    assert splits_of(run_splits(SLIDES, settings, given=None, init=tmp_path)) == splits_of(rows)


def test_a_split_column_that_contradicts_the_initial_run_is_refused(first_run):
    of_run = splits_of(run_splits(SLIDES, TrainSettings(), given=None, init=first_run))
    same = [replace(slide, split=of_run[slide.slide_id].upper()) for slide in SLIDES]
    assert splits_of(run_splits(same, TrainSettings(), given=None, init=first_run)) == of_run
    tested = next(slide.slide_id for slide in SLIDES if of_run[slide.slide_id] == "test")
    other = [replace(slide, split="train") if slide.slide_id == tested else slide for slide in same]
    with pytest.raises(
        CohortError, match=rf"1 slides have other splits .*'{tested}' is in test, not in train"
    ) as caught:
        run_splits(other, TrainSettings(), given=None, init=first_run)
    assert "remove the column split" in caught.value.hint


def test_validation_slides_that_the_initial_run_drew_do_not_contradict_the_split_column(tmp_path):
    column = [replace(slide, split="test" if k < 6 else "train") for k, slide in enumerate(SLIDES)]
    rows = run_splits(column, TrainSettings(), given=None, init=None)
    SPLITS.write(tmp_path / "splits.parquet", rows, Provenance({}))
    mark_complete(tmp_path)
    assert "val" in splits_of(rows).values()
    assert splits_of(run_splits(column, TrainSettings(), given=None, init=tmp_path)) == splits_of(rows)


@pytest.mark.parametrize(
    ("source", "shown"),
    [("column", "the column split"), ("file", "(--splits)"), ("init", "(--init)"), ("folds", "fold 0 of 5")],
)
def test_the_source_of_the_splits_is_a_fact(second_source, source, shown):
    slides, where = second_source[source]
    assert shown in splits_source(slides, TrainSettings(**BASE.get(source, {})), **where)


def test_the_splits_of_the_initial_run_are_kept_whatever_the_table_calls_its_patients(first_run):
    kept = splits_of(run_splits(SLIDES, TrainSettings(), given=None, init=first_run))
    for renamed in ([replace(slide, patient_id=f"x{slide.patient_id}") for slide in SLIDES], without_patients()):
        assert splits_of(run_splits(renamed, TrainSettings(), given=None, init=first_run)) == kept


def without_patients():
    return [replace(slide, patient_id=None) for slide in SLIDES]


@pytest.mark.parametrize("renamed", [SLIDES, without_patients()], ids=["same-names", "no-patients"])
def test_a_split_file_that_tests_slides_of_the_initial_run_is_refused(first_run, tmp_path, renamed):
    other = run_splits(renamed, TrainSettings(folds=4, fold=2), given=None, init=None)
    (tmp_path / "other").mkdir()
    SPLITS.write(tmp_path / "other" / "splits.parquet", other, Provenance({}))
    with pytest.raises(CohortError, match=r"5 test patients, .*, were used to train"):
        run_splits(renamed, TrainSettings(), given=tmp_path / "other" / "splits.parquet", init=first_run)
