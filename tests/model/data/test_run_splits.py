import pytest

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SettingsError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import SPLITS
from pipelines.core.settings import TrainSettings
from pipelines.model.data.splits import run_splits

SLIDES = [CohortSlide(f"s{k}", patient_id=f"p{k}", label="AB"[k % 2]) for k in range(20)]


@pytest.fixture
def first_run(tmp_path):
    """Return the folder of a run that held out fold 1 of 4."""
    rows = run_splits(SLIDES, TrainSettings(folds=4, fold=1), given=None, init=None)
    SPLITS.write(tmp_path / "splits.parquet", rows, Provenance({}))
    return tmp_path


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
